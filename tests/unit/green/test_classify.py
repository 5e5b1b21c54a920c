"""Deterministic, flaky or order-dependent: told by real runs of a small suite."""

from __future__ import annotations

import sys

import pytest

from cos.green.classify import Classifier
from cos.green.rules import Rules
from cos.green.scan import scan_run
from cos.green.suite import Suite, Task

TESTS = """
import os, pathlib

STATE = {}

def test_a_pollutes():
    STATE["left"] = True

def test_b_suffers():
    assert "left" not in STATE

def test_c_is_wrong():
    assert 1 + 1 == 3

def test_d_now_and_then():
    seen = pathlib.Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.write_text("")
    assert not first
"""


@pytest.fixture
def suite(tmp_path) -> Suite:
    (tmp_path / "test_it.py").write_text(TESTS)
    return Suite(tmp_path, tmp_path, sys.executable)


def test_each_failure_is_told_by_running_it_alone_and_again(suite) -> None:
    run = suite.run(Task())
    found = scan_run(run, suite.root, Rules())
    classifier = Classifier(suite, run)
    natures = {test.partition("::")[2]: nature for test, nature in classifier.classify(found.causes).items()}
    assert natures == {
        "test_b_suffers": "order-dependent",
        "test_c_is_wrong": "deterministic",
        "test_d_now_and_then": "flaky",
    }
    assert classifier.polluters == {"test_it.py::test_b_suffers": "test_it.py::test_a_pollutes"}


def test_the_budget_of_processes_is_kept(suite) -> None:
    run = suite.run(Task())
    classifier = Classifier(suite, run, budget=2)
    classifier.classify(scan_run(run, suite.root, Rules()).causes)
    assert classifier.left >= 0
