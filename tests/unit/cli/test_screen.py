"""What commands print when nobody looks: plain lines, one JSON line, errors on standard error."""

from __future__ import annotations

import json

from cos.cli.screen import fail, say, show_json, show_table


def test_a_line_and_an_error(capsys) -> None:
    say("done – ä")
    fail("The port is taken.")
    shown = capsys.readouterr()
    assert shown.out == "done – ä\n"
    assert shown.err == "cos: The port is taken.\n"


def test_json_is_one_line(capsys) -> None:
    """Letters stay letters, so that it can be read and searched."""
    show_json({"a": ["ä", None]})
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert "ä" in shown
    assert json.loads(shown) == {"a": ["ä", None]}


def test_a_table_is_tab_separated(capsys) -> None:
    """A row is a line whatever its cells hold, and the headings are left out."""
    show_table(("one", "two"), [("a\tb", "c\nd"), ("[red]", "")])
    assert capsys.readouterr().out == "a b\tc d\n[red]\t\n"
