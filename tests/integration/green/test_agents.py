"""Agents of every kind, from end to end: each case ends as it should, and nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

MakeProject = Callable[[dict[str, str]], Any]
Parts = Callable[..., dict[str, str]]


def fix(name: str) -> dict[str, Any]:
    return {"replace": f"app/{name}.py", "old": "+ 2", "new": "+ 1"}


def rule(name: str, *actions: dict[str, Any], attempt: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"match": rf"`app/{name}\.py`", "do": list(actions)}
    return found if attempt is None else {**found, "attempt": attempt}


class TestOneWave:
    """Eight causes, eight kinds of agent, in one run."""

    def test_each_ends_as_it_should(self, new_project: MakeProject, parts: Parts) -> None:
        names = ["good", "skips", "loosens", "strays", "hangs", "floods", "dies", "lies"]
        project = new_project(parts(*names))
        head = project.git("rev-parse", "HEAD")
        project.write({"README.md": "being written\n"})
        marked = "import pytest\n\n\n@pytest.mark.skip\ndef test_skips()"
        agent = project.script(
            rule("good", fix("good"), {"say": "COS_GREEN_COST=0.25"}, {"exit": 1}),
            rule("skips", {"replace": "tests/test_skips.py", "old": "def test_skips()", "new": marked}),
            rule(
                "loosens", {"replace": "tests/test_loosens.py", "old": "== 2", "new": "== 3"}, fix("loosens")
            ),
            rule("strays", fix("strays"), {"append": "app/good.py", "text": "# here too\n"}),
            rule("hangs", {"wait": 600}),
            rule("floods", {"say": "x" * 1000, "times": 400}, {"wait": 600}),
            rule("dies", {"append": "app/dies.py", "text": "# half\n"}, {"kill": int(signal.SIGKILL)}),
            rule("lies", {"say": "All tests pass now."}, {"exit": 0}),
        )

        said = project.green(
            "run",
            "--agent",
            agent,
            "--agents",
            "8",
            "--attempts",
            "1",
            "--wall",
            "5",
            "--output",
            "100000",
            code=51,
        )

        missions = {Path(mission["write"][0]).stem: mission for mission in project.status()["missions"]}
        assert {name: mission["state"] for name, mission in missions.items()} == {
            name: "merged" if name == "good" else "refused" for name in names
        }
        reasons = {name: " ".join(mission["reasons"]) for name, mission in missions.items()}
        assert "tests/test_skips.py:7: a test is skipped" in reasons["skips"]
        assert "tests/test_loosens.py:5: a number of an assertion is another" in reasons["loosens"]
        assert "app/good.py was changed outside of the lease" in reasons["strays"]
        assert "took longer than its limit" in reasons["hangs"]
        assert "wrote more output than its limit" in reasons["floods"]
        assert "target tests do not pass" in reasons["dies"]
        assert "nothing was changed" in reasons["lies"]
        assert missions["good"]["cost_usd"] == 0.25
        assert "1 uncommitted changes (README.md) stay as they are" in said
        assert "14 tests are still red" in said
        # the user's tree, branch and index are as they were; every branch is there
        assert project.git("rev-parse", "HEAD") == head
        assert (project.root / "README.md").read_text() == "being written\n"
        assert project.git("status", "--porcelain") == " M README.md\n"
        branches = project.git("branch", "--list", "cos-green/*")
        assert all(mission["branch"] in branches for mission in missions.values())
        assert "# half" in project.git("show", f"{missions['dies']['branch']}:app/dies.py")
        assert project.test_at(project.status()["branch"]).startswith("14 failed, 2 passed")
        report = project.green("report")
        assert "14 tests are still red" in report
        assert "a number of an assertion is another" in report


class TestNeighbours:
    def test_a_mission_that_breaks_anothers_tests_is_bisected_and_taken_out(
        self, new_project: MakeProject, parts: Parts
    ) -> None:
        """What no import shows (a file read at run time) only the whole suite can find."""
        files = parts("one", "two")
        files["tests/test_text.py"] = (
            "from pathlib import Path\n\n\ndef test_no_tabs():\n"
            "    folder = Path(__file__).parents[1] / 'app'\n"
            "    assert all('\\t' not in path.read_text() for path in folder.glob('*.py'))\n"
        )
        project = new_project(files)
        agent = project.script(
            rule("one", fix("one"), {"append": "app/one.py", "text": "# a\ttab\n"}, attempt=1),
            rule("one", fix("one"), attempt=2),
            rule("two", fix("two")),
        )

        project.green("run", "--agent", agent)

        missions = project.status()["missions"]
        assert [mission["state"] for mission in missions] == ["taken out", "merged", "merged"]
        assert "the whole suite lost tests/test_text.py::test_no_tabs" in missions[0]["reasons"][0]
        assert missions[0]["branch"] in project.git("branch", "--list", "cos-green/*")
        assert project.test_at(project.status()["branch"]).startswith("5 passed")

    def test_a_conflict_blocks_and_keeps_the_branch(self, new_project: MakeProject, parts: Parts) -> None:
        """Both missions may write the same file, since it was granted; the next wave settles it."""
        project = new_project({**parts("one", "two"), "NOTES.md": "notes\n"})
        agent = project.script(
            rule("one", fix("one"), {"write": "NOTES.md", "text": "one was here\n"}),
            rule("two", fix("two"), {"write": "NOTES.md", "text": "two was here\n"}, attempt=1),
            rule("two", fix("two"), attempt=2),
        )

        project.green("run", "--agent", agent, "--grant", "NOTES.md")

        first, second, third = project.status()["missions"]
        assert [first["state"], second["state"], third["state"]] == ["merged", "blocked", "merged"]
        assert "it conflicts in NOTES.md" in second["reasons"][0]
        assert second["branch"] in project.git("branch", "--list", "cos-green/*")
        assert project.git("show", f"{second['branch']}:NOTES.md") == "two was here\n"
        assert project.test_at(project.status()["branch"]).startswith("4 passed")


class TestSharedGround:
    def test_a_missing_fixture_comes_first_and_alone_with_its_conftest_granted(
        self, new_project: MakeProject, parts: Parts
    ) -> None:
        files = parts("one")
        files["tests/conftest.py"] = "import pytest\n"
        files["tests/test_fixture.py"] = (
            "def test_it(number):\n    assert number == 3\n\n\ndef test_more(number):\n    assert number > 2\n"
            "\n\ndef test_last(number):\n    assert number\n"
        )
        project = new_project(files)
        agent = project.script(
            {
                "match": "fixture 'number' not found",
                "do": [
                    {
                        "append": "tests/conftest.py",
                        "text": "\n\n@pytest.fixture\ndef number():\n    return 3\n",
                    }
                ],
            },
            rule("one", fix("one")),
        )

        project.green("run", "--agent", agent)

        assert [(m["wave"], m["state"]) for m in project.status()["missions"]] == [
            (1, "merged"),
            (2, "merged"),
        ]
        assert project.status()["verdict"] == "green"
