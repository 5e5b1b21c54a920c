"""`cos green plan` at the command line: missions of a scan, written as briefs and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cos.green.brief import brief
from cos.green.imports import Imports
from cos.green.plan import Planner
from cos.green.rules import load_rules
from cos.green.suite import find_python

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.mission import Mission
    from cos.green.repo import Repo
    from cos.green.scan import Scan


def plan_causes(
    scan: Scan, repo: Repo, *, agents: int, grant: tuple[str, ...] = (), python: str | None = None
) -> list[list[Mission]]:
    """Plan all waves for a scan of the user's commit.

    Args:
        scan: with its causes.
        repo: the project's.
        agents: most missions of a wave.
        grant: globs of guarded files that missions may write.
        python: the project's interpreter, if it is not to be found.

    Returns:
        The waves.
    """
    rules = load_rules(repo.root)
    rules = replace(rules, grant=(*rules.grant, *grant))
    commit = repo.head()
    files = repo.files(commit)
    imports = Imports(repo.texts(commit, files))
    planner = Planner(imports, rules, files, python=find_python(repo.root, python or rules.python))
    return planner.waves(scan.causes, agents)


def write_plan(waves: list[list[Mission]], data: dict[str, Any], folder: Path) -> Path:
    """Write one brief a mission and the whole plan as JSON.

    Args:
        waves: of missions.
        data: the same as JSON.
        folder: is made if it is not there.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for wave in waves:
        for mission in wave:
            (folder / f"{mission.id}.md").write_text(brief(mission), encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
    return folder
