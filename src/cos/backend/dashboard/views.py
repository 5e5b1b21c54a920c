"""The views of the dashboard, in the order of its contents list."""

from __future__ import annotations

from cos.backend.dashboard import letters, modules, notes, overview, readers, stream, system
from cos.backend.dashboard.view import View

VIEWS = (
    View(
        name="overview",
        title="Overview",
        key="o",
        load=overview.load,
        parts=("lede", "flow", "health", "latest"),
    ),
    View(name="events", title="Events", key="e", load=stream.load, parts=("stream",)),
    View(name="readers", title="Readers", key="r", load=readers.load, parts=("readers",), every=4),
    View(name="letters", title="Dead letters", key="d", load=letters.load, parts=("letters",), every=2),
    View(name="modules", title="Modules", key="m", load=modules.load, parts=("modules",), every=2),
    View(name="notes", title="Notes", key="n", load=notes.load, parts=("notes",), every=2),
    View(name="system", title="System", key="s", load=system.load, parts=("system",), every=4),
)
BY_NAME = {view.name: view for view in VIEWS}
