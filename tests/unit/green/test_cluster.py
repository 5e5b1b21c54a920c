"""Causes: what belongs together, what does not, and how fast that is found."""

from __future__ import annotations

import time

from cos.green.cause import Cause
from cos.green.cluster import find_causes
from cos.green.failure import Failure, Frame, Raised, Run
from cos.green.parse_text import parse_text
from cos.green.rules import Rules
from cos.green.scan import find_broken, scan_run


def causes_of(*failures: Failure, calls: dict[str, frozenset[str]] | None = None) -> list[Cause]:
    return find_causes(Run(failures=list(failures), calls=calls or {}))


def failed(test: str, kind: str, message: str, *frames: tuple[str, str]) -> Failure:
    chain = (Raised(kind, message, tuple(Frame(file, 1, function) for file, function in frames)),)
    return Failure(test, "failed", "call", chain)


class TestWhatBelongsTogether:
    def test_a_missing_name_is_one_cause_however_it_shows(self) -> None:
        found = causes_of(
            failed("tests/test_a.py::a", "AttributeError", "module 'app.money' has no attribute 'parse'"),
            failed(
                "tests/test_b.py",
                "ImportError",
                "cannot import name 'parse' from 'app.money' (/x/app/money.py)",
            ),
            failed(
                "tests/test_c.py::c",
                "AttributeError",
                "<module 'app.money' from 'x'> does not have the attribute 'parse'",
            ),
        )

        assert [len(cause.tests) for cause in found] == [3]

    def test_the_root_of_a_chain_counts_and_not_its_wrapper(self) -> None:
        def wrapped(test: str, service: str) -> Failure:
            return Failure(
                test,
                "failed",
                "call",
                (
                    Raised("ConnectionRefusedError", "[Errno 111] Connection refused", link="cause"),
                    Raised("app.ServiceError", f"{service} is down"),
                ),
            )

        assert len(causes_of(wrapped("t.py::a", "mail"), wrapped("t.py::b", "sms"))) == 1

    def test_an_everyday_error_that_was_being_handled_is_not_the_root(self) -> None:
        def missed(test: str, key: str) -> Failure:
            return Failure(
                test,
                "failed",
                "call",
                (
                    Raised("KeyError", f"'{key}'", link="context"),
                    Raised("OSError", "[Errno 28] No space left on device"),
                ),
            )

        assert len(causes_of(missed("t.py::a", "one"), missed("t.py::b", "two"))) == 1

    def test_the_same_words_raised_in_two_functions_are_two_causes(self) -> None:
        found = causes_of(
            failed(
                "tests/test_a.py::a",
                "RuntimeError",
                "went wrong",
                ("tests/test_a.py", "a"),
                ("app/one.py", "load"),
            ),
            failed(
                "tests/test_a.py::b",
                "RuntimeError",
                "went wrong",
                ("tests/test_a.py", "b"),
                ("app/two.py", "save"),
            ),
        )

        assert len(found) == 2
        assert {cause.files[0] for cause in found} == {"app/one.py", "app/two.py"}

    def test_assertions_are_told_apart_by_what_their_tests_execute(self) -> None:
        tests = {"t.py::a": "add", "t.py::b": "add", "t.py::c": "sub"}
        found = causes_of(
            *(
                failed(test, "AssertionError", f"assert {number} == 2", ("t.py", "t"))
                for number, test in enumerate(tests)
            ),
            calls={
                **{test: frozenset({f"app/m.py::{name}", "app/m.py::start"}) for test, name in tests.items()},
                "t.py::ok": frozenset({"app/m.py::start"}),
                "t.py::ok2": frozenset({"app/m.py::start"}),
            },
        )

        assert sorted(len(cause.tests) for cause in found) == [1, 2]

    def test_a_cut_message_joins_the_whole_one(self) -> None:
        run = parse_text(
            "FAILED tests/a.py::x - AttributeError: 'Store' object has no attribute 'get'\n"
            "FAILED tests/a_long_name.py::y - AttributeError: 'Store' obj...\nFAILED tests/b.py::z - KeyError: 'k'\n"
        )

        assert [len(cause.tests) for cause in find_causes(run)] == [2, 1]


def test_two_thousand_failures_take_less_than_two_seconds() -> None:
    """Half of them say the same, half are assertions that all differ; the bound leaves room for a slow machine."""
    failures = [
        failed(
            f"tests/test_{n % 40}.py::TestA::test_{n}",
            "ValueError",
            f"no value {n}",
            ("app/a.py", f"f{n % 9}"),
        )
        for n in range(1000)
    ]
    failures += [
        failed(
            f"tests/test_{n % 60}.py::test_thing_{n}", "AssertionError", f"assert 'a{n} b' == 'c{n * 7} d'"
        )
        for n in range(1000)
    ]

    started = time.process_time()
    causes = causes_of(*failures)

    assert time.process_time() - started < 8
    assert sum(len(cause.failures) for cause in causes) == 2000


class TestBrokenGround:
    def test_one_early_error_under_most_of_the_suite_is_named(self) -> None:
        failures = [
            Failure(
                f"t.py::{n}",
                "error",
                "setup",
                (Raised("ConnectionRefusedError", "[Errno 111] Connection refused"),),
            )
            for n in range(9)
        ]
        run = Run(total=10, passed=1, failures=failures)

        assert find_broken(run, find_causes(run)) is not None

    def test_many_assertions_are_no_broken_ground(self) -> None:
        failures = [
            failed(f"t.py::{n}", "AssertionError", "assert f() == 1\n +  where 2 = f()") for n in range(9)
        ]
        run = Run(total=10, passed=1, failures=failures)

        assert find_broken(run, find_causes(run)) is None


def test_the_json_is_what_is_promised() -> None:
    scan = scan_run(Run(source="x", failures=[failed("t.py::a", "ValueError", "v")]), None, Rules())

    data = scan.as_json()

    assert list(data) == ["runs", "causes"]
    assert list(data["causes"][0]) == ["id", "name", "pattern", "confidence", "tests", "files"]
    assert data["causes"][0]["tests"] == ["t.py::a"]
