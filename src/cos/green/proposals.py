"""Lets a language model, given as a command, propose merges and names; nothing else of its answer is used."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from cos.green.errors import AgentMissing
from cos.green.process import environment, find_program

if TYPE_CHECKING:
    from pathlib import Path

    from cos.green.cause import Cause

_NAME_LIMIT = 100
_LIMIT_S = 120.0


def propose(
    causes: list[Cause], command: str, root: Path, *, limit_s: float = _LIMIT_S
) -> tuple[list[Cause], list[str]]:
    """Ask the command and apply what it is allowed to say.

    It reads `{"causes": [{id, name, pattern, example, tests, files}]}` and answers
    `{"merge": [[id, id, …]], "names": {id: name}}`. It cannot split, drop, or change tests.

    Args:
        causes: as found.
        command: program and arguments; no shell.
        root: folder in which it runs.
        limit_s: seconds that it may take.

    Returns:
        The causes after merging, and a sentence on each thing of the answer that was not used.

    Raises:
        AgentMissing: the program was not found.
    """
    program = shlex.split(command)
    if not program or find_program(program[0]) is None:
        raise AgentMissing(
            f"The command '{command}' for proposals was not found: check `llm` in [tool.cos.green]."
        )
    question = {"causes": [{**cause.as_json(), "example": cause.example[:500]} for cause in causes]}
    try:
        done = subprocess.run(  # noqa: S603 - an argument list that the user gave
            program, input=json.dumps(question), capture_output=True, text=True, cwd=root, env=environment({}),
            timeout=limit_s, check=False,
        )  # fmt: skip
        answer = json.loads(done.stdout[done.stdout.index("{") :])
    except subprocess.TimeoutExpired:
        return causes, [f"The command for proposals took longer than {limit_s:g} s; it is left out."]
    except ValueError:
        return causes, ["The command for proposals did not answer with JSON; it is left out."]
    return _apply(causes, answer)


def _apply(causes: list[Cause], answer: Any) -> tuple[list[Cause], list[str]]:
    unused: list[str] = []
    if not isinstance(answer, dict):
        return causes, ["The command for proposals did not answer with a JSON object; it is left out."]
    known = {cause.id: cause for cause in causes}
    gone: set[str] = set()
    for group in answer.get("merge", []):
        members = (
            [name for name in group if name in known and name not in gone] if isinstance(group, list) else []
        )
        if len(set(members)) < 2:  # noqa: PLR2004 - a merge needs two
            unused.append(f"A proposed merge names no two known causes: {json.dumps(group)[:120]}.")
            continue
        keeper = max(
            (known[name] for name in set(members)), key=lambda cause: (len(cause.failures), cause.id)
        )
        for name in dict.fromkeys(members):
            if known[name] is not keeper:
                _merge(keeper, known[name])
                gone.add(name)
                known[name] = keeper  # a name proposed for it is the merged cause's
    names = answer.get("names", {})
    for name, text in names.items() if isinstance(names, dict) else ():
        if name in known and isinstance(text, str) and text.strip():
            known[name].name = " ".join(text.split())[:_NAME_LIMIT]
        else:
            unused.append(f"A proposed name is for no known cause: {str(name)[:40]}.")
    kept = [cause for cause in causes if cause.id not in gone]
    return sorted(kept, key=lambda cause: -len(cause.failures)), unused


def _merge(keeper: Cause, other: Cause) -> None:
    keeper.failures += other.failures
    keeper.files += [file for file in other.files if file not in keeper.files]
    keeper.confidence = min(keeper.confidence, other.confidence, 0.6)
    keeper.why += f"; merged with '{other.pattern[:80]}' as a language model proposed"
