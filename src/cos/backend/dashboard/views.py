"""The views of the dashboard, in the order of its contents list."""

from __future__ import annotations

from cos.backend.dashboard import (
    access,
    letters,
    modules,
    notes,
    overview,
    readers,
    stream,
    system,
    webhooks,
)
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
    View(
        name="webhooks",
        title="Webhooks",
        key="w",
        load=webhooks.load,
        parts=("webhooks",),
        every=2,
        administers=True,
    ),
    View(name="modules", title="Modules", key="m", load=modules.load, parts=("modules",), every=2),
    View(name="notes", title="Notes", key="n", load=notes.load, parts=("notes",), every=2),
    View(
        name="access",
        title="Access",
        key="a",
        load=access.load,
        parts=("access",),
        every=4,
        administers=True,
    ),
    View(name="system", title="System", key="s", load=system.load, parts=("system",), every=4),
)
BY_NAME = {view.name: view for view in VIEWS}
