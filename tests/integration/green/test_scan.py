"""`scan`, `plan` and `history` as a person uses them, and what they say where they cannot work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeProject = Callable[[dict[str, str]], Any]
Parts = Callable[..., dict[str, str]]

NATURES = {
    "tests/test_state.py": (
        "SEEN = []\n\n\ndef test_first():\n    SEEN.append(1)\n\n\ndef test_between():\n    assert True\n\n\n"
        "def test_behind():\n    assert not SEEN\n"
    ),
    "tests/test_luck.py": (
        "from pathlib import Path\n\n\ndef test_luck(pytestconfig):\n"
        "    mark = Path(pytestconfig.rootpath).parent / 'mark'\n    seen = mark.exists()\n"
        "    mark.touch()\n    assert seen\n"
    ),
    "tests/test_wrong.py": "def test_wrong():\n    assert 1 == 2\n",
}


def test_natures_are_told_apart_by_running_alone_and_again(new_project: MakeProject) -> None:
    project = new_project({".gitignore": "__pycache__/\n", **NATURES})

    said = project.green("scan")

    assert "3 failures, 3 causes, 40.0% of 5 tests pass" in said
    blocks = {
        name: next(block for block in said.split("\n\n") if name in block)
        for name in ("test_behind", "test_luck", "test_wrong")
    }
    assert "order-dependent" in blocks["test_behind"]
    assert "(fails after tests/test_state.py::test_first)" in blocks["test_behind"]
    assert "flaky" in blocks["test_luck"]
    assert "flaky" not in blocks["test_wrong"]
    assert "order-dependent" not in blocks["test_wrong"]
    assert project.git("status", "--porcelain") == ""


def test_a_plan_has_briefs_leases_and_waves_that_do_not_overlap(
    new_project: MakeProject, parts: Parts
) -> None:
    project = new_project(parts("one", "two", "three"))

    plan = json.loads(project.green("plan", "--agents", "2", "--json"))

    waves = [[mission["write"] for mission in wave] for wave in plan["waves"]]
    assert sorted(len(wave) for wave in waves) == [1, 2]
    assert sorted(file for wave in waves for lease in wave for file in lease) == [
        "app/one.py",
        "app/three.py",
        "app/two.py",
    ]
    brief = (project.root / ".cos/green/plan/M1.md").read_text()
    assert "Everything else is read-only" in brief
    assert "- `tests/test_one.py::test_one`" in brief
    assert project.git("status", "--porcelain") == ""


def test_history_counts_skips_against_the_rate_and_can_fail(new_project: MakeProject) -> None:
    project = new_project(
        {
            "tests/test_a.py": "import pytest\n\n\ndef test_a():\n    pass\n\n\n"
            "@pytest.mark.skip\ndef test_b():\n    pass\n"
        }
    )
    project.green("scan")

    data = json.loads(project.green("history", "--json"))

    assert [(row["tests"], row["passed"], row["skipped"], row["pass_rate"]) for row in data["runs"]] == [
        (2, 1, 1, 0.5)
    ]
    assert "under the bound of 60 %" in project.green("history", "--fail-under", "60", code=52)


def test_rules_name_categories_and_a_model_may_only_merge_and_name(
    new_project: MakeProject, parts: Parts, tmp_path: Path
) -> None:
    model = tmp_path / "model.py"
    model.write_text(
        "import json, sys\ncauses = json.load(sys.stdin)['causes']\nids = [cause['id'] for cause in causes]\n"
        "print(json.dumps({'merge': [ids, ['C-none']], 'names': {ids[0]: 'sums are off'}, 'delete': ids}))\n"
    )
    rules = (
        f'[tool.cos.green]\nllm = "{sys.executable} {model}"\n'
        '[[tool.cos.green.category]]\nname = "sums"\nmatch = "assert"\npriority = 1\n'
    )
    project = new_project({**parts("one", "two"), "pyproject.toml": rules})

    said = project.green("scan", "--reruns", "0")

    assert "4 failures, 1 cause" in said
    assert "sums are off" in said
    assert "· sums ·" in said
    assert "A proposed merge names no two known causes" in said


class TestWhatCannotWork:
    """Each is one sentence with the way out and an exit code of its own."""

    def test_errors(self, new_project: MakeProject, tmp_path: Path) -> None:
        project = new_project({"README.md": "x\n"})
        (project.root / "bad.xml").write_text("<html/>")
        (project.root / "bad.txt").write_text("nothing of the kind\n")

        assert "found no tests" in project.green("scan", code=42)
        assert "not a JUnit report" in project.green("scan", "--from", "bad.xml", code=43)
        assert "write one with `pytest --junitxml=FILE`" in project.green(
            "scan", "--from", "bad.txt", code=43
        )
        assert "cannot be read" in project.green("scan", "--from", "none.txt", code=43)
        assert "agent's command 'no-such-agent' was not found" in project.green(
            "run", "--agent", "no-such-agent", code=44
        )
        assert "has no pytest" in project.green("scan", "--python", self.bare_python(tmp_path), code=46)
        assert "no run here yet" in project.green("status", code=49)
        project.write({"pyproject.toml": "[tool.cos.green]\ncolour = 1\n"})
        assert "has no setting 'colour'" in project.green("scan", code=47)

    @staticmethod
    def bare_python(folder: Path) -> str:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")], check=True)
        return str(folder / "bare" / "bin" / "python")

    def test_outside_of_a_repository(self, new_project: MakeProject, tmp_path: Path) -> None:
        project = new_project({"README.md": "x\n"})
        (tmp_path / "elsewhere").mkdir()
        outside = type(project)(tmp_path / "elsewhere")

        assert "is not inside a git repository" in outside.green("scan", code=40)

    @pytest.mark.parametrize("broken", ["tests/conftest.py", "tests/test_one.py"])
    def test_a_suite_that_does_not_collect_is_the_first_cause(
        self, new_project: MakeProject, parts: Parts, broken: str
    ) -> None:
        project = new_project({**parts("one"), broken: "import not_there\n"})

        said = project.green("scan", "--reruns", "0")

        assert "No module named 'not_there'" in said
        assert "1 cause" in said
