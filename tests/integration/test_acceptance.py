"""The main job: ten years of authoring events go in, come out announced and in order, whatever is killed on the way.

The real file is taken where it is, else a sample of our own making.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    """The script that makes the same rounds for as long as one likes."""
    spec = importlib.util.spec_from_file_location("kill_rounds", ROOT / "scripts" / "kill_rounds.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cos(kills, tmp_path_factory):
    """A fresh COS, started as a person starts it."""
    living = kills.LivingCos(tmp_path_factory.mktemp("acceptance") / "data", fsync="false")
    living.up()
    yield living
    living.stop()


def test_the_file_goes_in_and_comes_out_in_order(cos, kills) -> None:
    """Log and stream hold exactly the file's events in the file's order; the import run again brings nothing new."""
    file = kills.source()
    lines = kills.read_lines(file)
    arguments = ("import", "events", str(file), "--module", "acceptance", "--json")

    first = json.loads(cos.good(*arguments))
    assert (first["recorded"], first["duplicates"]) == (len(lines), 0)
    log, stream = cos.look("acceptance", len(lines))
    assert log == lines
    assert stream == lines

    again = json.loads(cos.good(*arguments))
    assert (again["recorded"], again["duplicates"]) == (0, len(lines))
    assert cos.look("acceptance", len(lines)) == (lines, lines)
    found = cos.status()
    assert (found["health"], found["records"]) == ("ok", len(lines))
    assert found["streams"]["acceptance"]["length"] == len(lines)


def test_nothing_is_lost_or_doubled_whatever_is_killed(cos, kills) -> None:
    """The importer, COS, Redis and Postgres, each killed with -9 in mid-import: run again, all is there once."""
    with kills.cut(kills.source(), 3000) as file:
        found = kills.rounds(cos, file=file, victims=list(kills.VICTIMS), seed=20260131, show=print)
    assert [one.victim for one in found] == list(kills.VICTIMS)


@pytest.mark.parametrize(
    ("log", "stream", "said"),
    [
        ("abc", "abcd", "not the log"),
        ("abc", "ab", "not the log"),
        ("abc", "acb", "not the log"),
        ("ab", "ab", "1 lines are lost"),
        ("abbc", "abbc", "1 are there too often"),
        ("aab", "aab", "1 lines are lost, 1 are there"),
        ("acb", "acb", "order"),
    ],
)
def test_the_comparison_sees_what_is_wrong(kills, log, stream, said) -> None:
    """Lost, doubled or out of its place does not pass: the rounds above prove something."""
    kills.compare(list("abc"), list("abc"), list("abc"))
    with pytest.raises(kills.Broken, match=said):
        kills.compare(list(log), list(stream), list("abc"))
