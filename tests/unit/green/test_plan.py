"""Missions and waves: what each may write, what shares a wave, and what is tried again how often."""

from __future__ import annotations

from collections import Counter

from cos.green.cause import Cause
from cos.green.failure import Failure, Frame, Raised
from cos.green.imports import Imports
from cos.green.plan import Planner
from cos.green.rules import Rules

TEXTS = {
    "app/__init__.py": "",
    "app/base.py": "",
    **{f"app/part{n}.py": "from app import base\n" for n in range(4)},
    "tests/conftest.py": "",
    **{f"tests/test_part{n}.py": f"from app.part{n} import step\n" for n in range(4)},
}


def failure(test: str) -> Failure:
    return Failure(test, "failed", "call", (Raised("KeyError", "x", (Frame("app/x.py", 1, "f"),)),))


def cause(name: str, *tests: str, files: tuple[str, ...] = (), kind: str = "other", **more) -> Cause:
    return Cause(
        key=(kind, name), kind=kind, name=name, pattern=name, confidence=0.9, why="",
        failures=[failure(test) for test in tests], files=list(files), **more,
    )  # fmt: skip


def planner(**more) -> Planner:
    return Planner(Imports(TEXTS), Rules(), sorted(TEXTS), **more)


class TestWaves:
    def test_what_does_not_overlap_shares_a_wave_up_to_the_number_of_agents(self) -> None:
        causes = [cause(f"c{n}", f"tests/test_part{n}.py::t", files=(f"app/part{n}.py",)) for n in range(4)]
        waves = planner().waves(causes, 3)
        assert sorted(len(wave) for wave in waves) == [1, 3]
        assert {mission.write for wave in waves for mission in wave} == {
            (f"app/part{n}.py",) for n in range(4)
        }
        assert [mission.id for wave in waves for mission in wave] == ["M1", "M2", "M3", "M4"]

    def test_what_overlaps_waits_for_another_wave_and_the_largest_goes_first(self) -> None:
        small = cause("small", "tests/test_part0.py::a", files=("app/part0.py",))
        large = cause("large", "tests/test_part0.py::b", "tests/test_part0.py::c", files=("app/part0.py",))
        waves = planner().waves([small, large], 4)
        assert [[mission.name for mission in wave] for wave in waves] == [["large"], ["small"]]

    def test_shared_ground_goes_alone_and_before_all(self) -> None:
        many = cause("many", *(f"tests/test_part1.py::{n}" for n in range(9)), files=("app/part1.py",))
        base = cause("base", "tests/test_part0.py::a", files=("app/base.py",))
        waves = planner().waves([many, base], 4)
        assert [[mission.name for mission in wave] for wave in waves] == [["base"], ["many"]]
        assert waves[0][0].shared


class TestLease:
    def test_tests_and_options_are_never_leased_by_themselves(self) -> None:
        made = planner().mission(cause("c", "tests/test_part0.py::t", files=("tests/test_part0.py",)))
        assert "app/part0.py" in made.write
        assert not made.lease.allows("tests/test_part0.py")
        assert not made.lease.allows("tests/conftest.py")

    def test_a_missing_fixture_grants_the_nearest_conftest_by_name(self) -> None:
        made = planner().mission(cause("c", "tests/test_part0.py::t", kind="missing-fixture"))
        assert made.granted == ("tests/conftest.py",)
        assert made.lease.allows("tests/conftest.py")
        assert "tests/conftest.py" in made.grant_reasons[0]

    def test_a_second_attempt_may_write_what_the_first_one_wanted(self) -> None:
        tests = ("tests/test_part0.py::t",)
        first = planner().mission(cause("c", *tests, files=("app/part0.py",)))
        again = planner(
            tries=Counter(tests),
            widen={tests[0]: ["app/part3.py", "tests/conftest.py"]},
            hints={tests[0]: ["it edited app/part3.py"]},
        ).mission(cause("c", *tests, files=("app/part0.py",)))
        assert not first.lease.allows("app/part3.py")
        assert again.lease.allows("app/part3.py")
        assert not again.lease.allows("tests/conftest.py")
        assert (again.attempt, again.hints) == (2, ("it edited app/part3.py",))

    def test_a_cause_that_was_tried_often_enough_gets_no_mission(self) -> None:
        tests = ("tests/test_part0.py::t",)
        tried = planner(tries=Counter({tests[0]: 2}), attempts=2)
        assert tried.waves([cause("c", *tests, files=("app/part0.py",))], 2) == []


def test_a_very_large_cause_is_proved_by_a_spread_over_its_files() -> None:
    tests = [f"tests/test_part{n % 4}.py::t{n}" for n in range(400)]
    made = planner().mission(cause("c", *tests, files=("app/base.py",)))
    assert len(made.targets) == 60
    assert Counter(test.partition("::")[0] for test in made.targets).most_common()[-1][1] == 15
    assert made.expected == 400
