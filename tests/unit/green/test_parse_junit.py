"""JUnit XML: pytest's, others', and hostile ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cos.green.errors import UnreadableReport
from cos.green.parse_junit import parse_junit
from cos.green.parse_text import parse_text
from cos.green.read import read_run


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_pytests_own_report_names_the_same_tests_as_its_log(tmp_path: Path, family: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef f():\n    raise OSError('no')\n\nclass TestA:\n"
        "    @pytest.mark.parametrize('x', ['a.b'])\n    def test_x(self, x):\n        assert x == ''\n\n"
        "def test_y(f): pass\n\ndef test_ok(): pass\n"
    )
    (tmp_path / "tests" / "test_b.py").write_text("import not_there\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command += ["--junitxml=j.xml", "-o", f"junit_family={family}", "--rootdir=."]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    log = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False).stdout

    run, logged = read_run(tmp_path / "j.xml"), parse_text(log)

    assert {(f.test, f.outcome, f.phase) for f in run.failures} == {
        (f.test, f.outcome, f.phase) for f in logged.failures
    }
    assert {f.test: f.chain[0].type for f in run.failures} == {
        f.test: f.chain[0].type for f in logged.failures
    }
    assert (run.total, run.passed) == (4, 1)


def test_javas_causes_are_followed_to_their_root() -> None:
    run = parse_junit(
        b"""<testsuite><testcase classname="org.shop.CartTest" name="adds" time="0.1">
        <failure type="java.lang.RuntimeException" message="no cart">java.lang.RuntimeException: no cart
\tat org.shop.Cart.add(Cart.java:12)
Caused by: java.sql.SQLException: closed
\tat org.shop.Db.get(Db.java:7)
\tat org.shop.Cart.add(Cart.java:10)</failure></testcase></testsuite>"""
    )

    chain = run.failures[0].chain
    assert run.failures[0].test == "org.shop.CartTest::adds"
    assert [(raised.name, raised.message) for raised in chain] == [
        ("SQLException", "closed"),
        ("RuntimeException", "no cart"),
    ]
    assert chain[0].frames[-1].file == "Db.java"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>', "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>', "document type"),
        (b"<testsuite><testcase>", "not well-formed"),
        (b"<html/>", "not a JUnit report"),
        (b"<testsuite>" + b"<a>" * 100, "nested deeper"),
    ],
)
def test_hostile_and_broken_xml_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableReport, match=said):
        parse_junit(data)
