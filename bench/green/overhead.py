"""Measures what `cos green` itself takes for a mission on a project of 300 tests, beside its floor: starts of pytest.

    python bench/green/overhead.py [--missions 4]

The agents take no time of their own to speak of. Reported: seconds a mission of a whole run (suites before and after
included), and how many starts of pytest on one file that is, measured in the same minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
FILES = 30
TESTS = 10


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "PYTHONPATH": str(SOURCE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}


def make(folder: Path, missions: int) -> tuple[Path, str]:
    root = folder / "project"
    (root / "app").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "app" / "__init__.py").write_text("")
    rules = []
    for number in range(FILES):
        wrong = "+ 2" if number < missions else "+ 1"
        (root / "app" / f"part{number}.py").write_text(
            f"def step{number}(value):\n    return value {wrong}\n"
        )
        tests = [f"def test_{n}():\n    assert step{number}({n}) == {n + 1}\n" for n in range(TESTS)]
        head = f"from app.part{number} import step{number}\n\n\n"
        (root / "tests" / f"test_part{number}.py").write_text(head + "\n\n".join(tests))
        if number < missions:
            mend = {"replace": f"app/part{number}.py", "old": "+ 2", "new": "+ 1"}
            rules.append({"match": rf"`app/part{number}\.py`", "do": [mend]})
    script = folder / "agent.json"
    script.write_text(json.dumps({"rules": rules}))
    name = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for arguments in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "work"]):
        subprocess.run(["git", *name, *arguments], cwd=root, check=True)
    return root, f"scripted:{script}"


def timed(command: list[str], root: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=root, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--missions", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cos-green-cost-") as folder:
        root, agent = make(Path(folder), asked.missions)
        start = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"tests/test_part{FILES - 1}.py",
        ]
        floors = [timed(start, root) for _ in range(3)]
        took = timed([sys.executable, "-m", "cos.green", "run", "--agent", agent], root)
        floors += [timed(start, root) for _ in range(3)]
        floor = statistics.median(floors)
        each = took / asked.missions
        print(f"{asked.missions} missions of {FILES * TESTS} tests: {took:.1f} s, {each:.2f} s a mission")
        print(f"one start of pytest: {floor:.2f} s; a mission takes {each / floor:.1f} of them")
        print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
