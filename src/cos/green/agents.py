"""The agents that are known by name, and how any other command is told its mission."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cos.green.errors import AgentMissing
from cos.green.process import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCRIPTED = Path(__file__).parent / "probe" / "scripted.py"

# each runs without asking a person; `{brief}` is the brief's path, `{text}` its text, else it is standard input
PRESETS: dict[str, str] = {
    "claude": "claude -p --permission-mode acceptEdits --output-format json",
    "codex": "codex exec --full-auto -",
    "gemini": "gemini --yolo",
    "aider": "aider --yes-always --no-check-update --no-auto-commits --message-file {brief}",
    "opencode": "opencode run {text}",
    "goose": "goose run --no-session -i {brief}",
    "cursor": "cursor-agent -p --force {text}",
    "qwen": "qwen --yolo",
    "amp": "amp -x --dangerously-allow-all",
    "copilot": "copilot --allow-all-tools -p {text}",
}


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's command, checked: the program exists."""

    command: tuple[str, ...]

    @classmethod
    def find(cls, asked: str) -> Agent:
        """Find an agent.

        Args:
            asked: a preset's name, `scripted:FILE`, or a command with its arguments.

        Raises:
            AgentMissing: the program was not found, or the script was not.
        """
        if asked.startswith("scripted:"):
            script = Path(asked.removeprefix("scripted:")).resolve()
            if not script.is_file():
                raise AgentMissing(
                    f"The script {script} of the scripted agent was not found: check the path."
                )
            return cls((sys.executable, "-I", str(_SCRIPTED), str(script)))
        try:
            words = shlex.split(PRESETS.get(asked, asked))
        except ValueError as error:
            raise AgentMissing(
                f"The agent's command {asked!r} cannot be read ({error}): mend its quotes."
            ) from None
        if not words or find_program(words[0]) is None:
            known = ", ".join(PRESETS)
            raise AgentMissing(
                f"The agent's command '{words[0] if words else asked}' was not found: install it, or give --agent "
                f"another command or one of {known}."
            )
        program = find_program(words[0])
        # a program named by a relative path is meant from here, not from the mission's worktree
        if program and "/" in words[0]:
            words[0] = str(Path(program).absolute())
        return cls(tuple(words))

    def filled(self, values: Mapping[str, str]) -> tuple[list[str], bool]:
        """Fill the placeholders in.

        Args:
            values: by name: brief, text, worktree, mission, json.

        Returns:
            The command, and whether the brief is still to be given on standard input.
        """
        words = list(self.command)
        for name, value in values.items():
            words = [word.replace("{" + name + "}", value) for word in words]
        given = any("{brief}" in word or "{text}" in word or "{json}" in word for word in self.command)
        return words, not given
