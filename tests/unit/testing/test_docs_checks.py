"""The examples of docs/testing-checks.md: each is run, and says what stands below it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(?P<kind>python|console)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENT = Path(__file__).parents[3] / "docs/testing-checks.md"


def examples():
    """Give each run: its files, its command and the lines that it must print."""
    files, found, fresh = {}, [], False
    for block in BLOCK.finditer(DOCUMENT.read_text()):
        text = block["text"]
        if block["kind"] == "python":
            files = {} if fresh else files
            fresh = False
            files[text.split("\n", 1)[0].removeprefix("# ")] = text.split("\n", 1)[1]
        else:
            command, *lines = text.splitlines()
            found.append(pytest.param(dict(files), command, lines, id=f"{len(found)}-{next(iter(files))}"))
            fresh = True
    return found


@pytest.mark.parametrize(("files", "command", "lines"), examples())
def test_the_example_says_what_stands_below_it(pytester, monkeypatch, files, command, lines) -> None:
    """Run it as a reader would."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, text in files.items():
        (pytester.path / name).write_text(text)
    arguments = shlex.split(command.removeprefix("$ pytest"))
    result = pytester.runpytest_subprocess("-p", "cos.testing.plugin", *arguments, timeout=100)
    shown = result.stdout.str()
    missing = [line for line in lines if not re.search(re.escape(line).replace("…", ".*?"), shown)]
    assert missing == []
    assert len(lines) > 0


def test_there_are_examples() -> None:
    """One for each check at least."""
    assert len(examples()) >= 8
