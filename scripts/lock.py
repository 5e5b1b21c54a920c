"""Writes all that pins a version: requirements.lock, scripts/bootstrap.lock and the `tool.uv` table of pyproject.toml.

The lock is the truth. `uv run` does not read it, so pyproject.toml repeats its versions as constraints (uv ignores
constraints that stand in a uv.toml when it resolves a project). No file names a registry: each machine uses its own.

    python scripts/lock.py [--upgrade]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = "3.11"
TABLE = """
# Written by `make lock` from requirements.lock, so that `uv run` takes the same versions as `make`.
[tool.uv]
"""


def compile_lock(source: str, target: Path, *arguments: str, upgrade: bool) -> None:
    """Resolve `source` for every platform into `target`, which keeps its versions unless they are to be upgraded.

    Args:
        source: the text of a pyproject.toml.
        target: the file to write; it need not exist.
        *arguments: further arguments for uv.
        upgrade: whether to take the newest versions.
    """
    # A folder of its own: in ours uv would read the constraints that are to be written anew.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(source)
        subprocess.run(
            ["uv", "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", PYTHON]
            + [
                "--no-header",
                "--no-emit-index-url",
                "--no-annotate",
                "--output-file",
                str(target),
                *arguments,
            ]
            + (["--upgrade"] if upgrade else []),
            cwd=folder,
            check=True,
        )


def read_pins(lock: str) -> list[str]:
    """Give the requirements of a lock file, each as `name==version` with its marker."""
    starts = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    return [line.removesuffix("\\").strip() for line in starts]


def write_table(pyproject: str, pins: list[str], build_pins: list[str]) -> str:
    """Give the text of pyproject.toml with its `tool.uv` table, the last one, made of the pins."""
    lines = [
        f"constraint-dependencies = [\n{_items(pins)}]",
        f"build-constraint-dependencies = [\n{_items(build_pins)}]",
    ]
    return pyproject.split(TABLE, maxsplit=1)[0] + TABLE + "\n".join(lines) + "\n"


def _items(pins: list[str]) -> str:
    return "".join(f'    "{pin}",\n' for pin in pins)


def _project(*dependencies: str) -> str:
    head = f'[project]\nname = "pins"\nversion = "0"\nrequires-python = ">={PYTHON}"\n'
    return f"{head}dependencies = {list(dependencies)}\n"


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description="Write the locks.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    upgrade = parser.parse_args().upgrade

    pyproject, lock = ROOT / "pyproject.toml", ROOT / "requirements.lock"
    source = pyproject.read_text().split(TABLE, maxsplit=1)[0]
    compile_lock(source, lock, "--group", "dev", "--generate-hashes", upgrade=upgrade)
    compile_lock(_project("uv"), ROOT / "scripts/bootstrap.lock", "--generate-hashes", upgrade=upgrade)

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "build.lock"
        build = tomllib.loads(source)["build-system"]["requires"]
        compile_lock(_project(*build), target, "--constraint", str(lock), upgrade=False)
        build_pins = read_pins(target.read_text())
    pyproject.write_text(write_table(source, read_pins(lock.read_text()), build_pins))


if __name__ == "__main__":
    main()
