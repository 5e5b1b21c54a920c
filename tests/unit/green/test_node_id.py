"""Where a node id ends in a summary line."""

from __future__ import annotations

import pytest

from cos.green.node_id import heading, split, split_summary


@pytest.mark.parametrize(
    ("text", "test", "message"),
    [
        ("tests/a.py::test_x - KeyError: 'a - b'", "tests/a.py::test_x", "KeyError: 'a - b'"),
        ("tests/a.py::T::test_x[a - b] - E: m", "tests/a.py::T::test_x[a - b]", "E: m"),
        ("a b/c.py::test_x[[1]::2]", "a b/c.py::test_x[[1]::2]", ""),
        ("tests/a.py - ImportError: x", "tests/a.py", "ImportError: x"),
        ("docs/a.rst::a.rst", "docs/a.rst::a.rst", ""),
    ],
)
def test_the_message_begins_after_the_node_id(text: str, test: str, message: str) -> None:
    assert split_summary(text) == (test, message)


@pytest.mark.parametrize("text", ["   src.app:app.py:1 a log line", "something else happened", "x"])
def test_other_lines_are_none(text: str) -> None:
    assert split_summary(text) is None


def test_a_known_id_wins_where_its_parameters_look_like_an_end() -> None:
    known = frozenset({"t.py::a[x] - y]"})

    assert split_summary("t.py::a[x] - y] - E: m", known) == ("t.py::a[x] - y]", "E: m")


def test_parts_and_heading() -> None:
    assert split("a/b.py::T::test_x[1::2]") == ("a/b.py", ["T", "test_x"], "1::2")
    assert heading("a/b.py::T::test_x[1::2]") == "T.test_x[1::2]"
