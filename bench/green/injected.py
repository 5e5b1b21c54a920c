"""Injects K known faults into green projects, K = 1 to 4, and measures whether as many causes are found.

    python bench/green/injected.py [--cases 60] [--seed 1] [--show]

Each case is run once under pytest and read in three ways: by our own run (which notes what tests execute), from the
text log beside the sources, and from the text log alone. A case counts only if each of its faults shows in some test
that no other of its faults breaks, so that K causes really are to be seen.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from cos.green.cluster import find_causes
from cos.green.parse_report import parse_report
from cos.green.parse_text import parse_text
from cos.green.suite import PROBE

PROJECTS = Path(__file__).with_name("projects.txtar")
WAYS = ("own run", "log and sources", "log alone")


@dataclass(frozen=True)
class Fault:
    project: str
    file: str
    function: str
    kind: str


def projects() -> dict[str, dict[str, str]]:
    """Read the projects: name, then path, then text."""
    found: dict[str, dict[str, str]] = {}
    path = ""
    for line in PROJECTS.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("-- ") and line.rstrip().endswith(" --"):
            project, _, path = line.strip()[3:-3].partition("/")
            found.setdefault(project, {})[path] = ""
        else:
            found[project][path] += line
    return found


class Change(ast.NodeTransformer):
    """Changes the first operator, comparison or constant of a function that changes its value."""

    def __init__(self) -> None:
        self.done = False

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Swap an operator."""
        self.generic_visit(node)
        swap = {
            ast.Add: ast.Sub,
            ast.Sub: ast.Add,
            ast.Mult: ast.Add,
            ast.FloorDiv: ast.Mult,
            ast.Mod: ast.Mult,
        }
        if not self.done and type(node.op) in swap:
            self.done = True
            node.op = swap[type(node.op)]()
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Turn a comparison round."""
        swap = {
            ast.Lt: ast.GtE,
            ast.LtE: ast.Gt,
            ast.Gt: ast.LtE,
            ast.In: ast.NotIn,
            ast.NotIn: ast.In,
            ast.Eq: ast.NotEq,
        }
        if not self.done and type(node.ops[0]) in swap:
            self.done = True
            node.ops[0] = swap[type(node.ops[0])]()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """Change a value."""
        if not self.done and isinstance(node.value, (int, str)) and not isinstance(node.value, bool):
            self.done = True
            return ast.Constant(node.value + (1 if isinstance(node.value, int) else "x"))
        return node


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found += [node for node in owner.body if isinstance(node, ast.FunctionDef)]
    return found


def possible(name: str, files: dict[str, str]) -> list[Fault]:
    faults = []
    for path, text in files.items():
        if not path.endswith(".py") or not text.strip():
            continue
        product = "tests/" not in path
        tree = ast.parse(text)
        if product and len(tree.body) > 1:
            faults += [Fault(name, path, "", kind) for kind in ("import", "syntax")]
        if not product and not path.endswith("conftest.py"):
            continue
        for function in functions(tree):
            kinds = ("rename", "raise", "none", "value", "parameter") if product else ("rename", "raise")
            faults += [Fault(name, path, function.name, kind) for kind in kinds]
    return [fault for fault in faults if fault.function != "__init__" or fault.kind in {"raise", "parameter"}]


def inject(files: dict[str, str], fault: Fault) -> dict[str, str] | None:
    """Give the project with the fault in it, or None where it cannot be put."""
    text = files[fault.file]
    if fault.kind == "import":
        return {**files, fault.file: f"import {Path(fault.file).stem}_extension\n" + text}
    if fault.kind == "syntax":
        return {**files, fault.file: text + "\ndef broken(:\n    pass\n"}
    tree = ast.parse(text)
    function = next(found for found in functions(tree) if found.name == fault.function)
    if fault.kind == "rename":
        function.name += "_moved"
    elif fault.kind == "raise":
        function.body = ast.parse('raise RuntimeError("something went wrong")').body + function.body[-1:]
    elif fault.kind == "none":
        if not any(isinstance(node, ast.Return) for node in ast.walk(function)):
            return None
        function.body = ast.parse("return None" if False else "pass").body
    elif fault.kind == "parameter":
        function.args.kwonlyargs.append(ast.arg("strict"))
        function.args.kw_defaults.append(None)
    else:
        change = Change()
        function.body = [change.visit(node) for node in function.body]
        if not change.done:
            return None
    return {**files, fault.file: ast.unparse(ast.fix_missing_locations(tree)) + "\n"}


def run(files: dict[str, str], tb: str) -> tuple[Path, str, str]:
    folder = Path(tempfile.mkdtemp(prefix="cos-green-bench-"))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    report = folder / "report.jsonl"
    env = {
        **os.environ, "PYTHONPATH": f"{PROBE}{os.pathsep}{folder}{os.pathsep}{folder / 'src'}", "COS_GREEN_TRACE": "1",
        "COS_GREEN_REPORT": str(report), "COS_GREEN_ROOT": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "80",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "cos_green_probe",
        "-p",
        "no:cacheprovider",
        "-rfE",
        f"--tb={tb}",
    ]
    command += [f"--rootdir={folder}", "--continue-on-collection-errors"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return folder, done.stdout, report.read_text(encoding="utf-8") if report.exists() else ""


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


@lru_cache(maxsize=4096)
def alone(fault: Fault) -> frozenset[str]:
    """Give the tests that the fault breaks by itself."""
    files = inject(projects()[fault.project], fault)
    if files is None:
        return frozenset()
    folder, _, report = run(files, "no")
    remove(folder)
    return frozenset(parse_report(report).failing) if report else frozenset()


def rand_index(one: list[str], other: list[str]) -> float:
    both, first, second = Counter(zip(one, other, strict=True)), Counter(one), Counter(other)
    pairs = sum(comb(n, 2) for n in both.values())
    a, b = sum(comb(n, 2) for n in first.values()), sum(comb(n, 2) for n in second.values())
    expected = a * b / comb(len(one), 2) if len(one) > 1 else 0.0
    most = (a + b) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


def make_case(dice: random.Random, count: int) -> tuple[list[Fault], dict[str, str]] | None:
    """Draw faults of one project until each shows; None if this draw does not work out."""
    every = projects()
    name = dice.choice(sorted(every))
    faults = dice.sample(possible(name, every[name]), count)
    if len({(fault.file, fault.function) for fault in faults}) < count:
        return None
    modules = [fault.file for fault in faults if not fault.function]
    if any(fault.function and fault.file in modules for fault in faults):
        return None
    files: dict[str, str] | None = every[name]
    for fault in sorted(faults, key=lambda fault: not fault.function, reverse=False):
        files = inject(files, fault) if files is not None else None
    if files is None or not all(alone(fault) for fault in faults):
        return None
    return faults, files


def labels_of(faults: list[Fault], failing: set[str]) -> dict[str, str] | None:
    """Give for each test that only one fault explains that fault; None unless each fault has such a test."""
    labels: dict[str, str] = {}
    for test in failing:
        guilty = [number for number, fault in enumerate(faults) if test in alone(fault)]
        if len(guilty) == 1:
            labels[test] = str(guilty[0])
    return labels if len(set(labels.values())) == len(faults) else None


def measure(cases: int, seed: int, *, show: bool = False) -> dict[str, tuple[int, float]]:
    """Run the cases and give, for each way of reading, in how many K causes were found and the mean Rand index."""
    dice = random.Random(seed)  # noqa: S311 - cases that can be had again
    right: Counter[str] = Counter()
    index: dict[str, float] = dict.fromkeys(WAYS, 0.0)
    done = 0
    while done < cases:
        count = 1 + done % 4
        case = make_case(dice, count)
        if case is None:
            continue
        faults, files = case
        folder, log, report = run(files, dice.choice(["auto", "long", "short", "native"]))
        recorded = parse_report(report) if report else None
        labels = labels_of(faults, recorded.failing) if recorded and recorded.failures else None
        if recorded is None or labels is None:
            remove(folder)
            continue
        done += 1
        for way in WAYS:
            read = recorded if way == WAYS[0] else parse_text(log)
            read = read if way == WAYS[0] else replace(read, calls={})
            causes = find_causes(read, None if way == WAYS[2] else folder)
            right[way] += len(causes) == count
            where = {failure.test: cause.id for cause in causes for failure in cause.failures}
            tests = [test for test in sorted(labels) if test in where]
            index[way] += rand_index([labels[test] for test in tests], [where[test] for test in tests])
            if show and len(causes) != count:
                print(f"case {done}: {way}: {len(causes)} causes for {count}")
                for fault in faults:
                    print("   fault", fault.file, fault.function, fault.kind)
                for cause in causes:
                    print(
                        "   cause",
                        cause.key,
                        "|",
                        Counter(labels.get(t, "?") for t in cause.tests),
                        "|",
                        cause.example[:90],
                    )
        remove(folder)
    return {way: (right[way], index[way] / cases) for way in WAYS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    for way, (right, index) in measure(asked.cases, asked.seed, show=asked.show).items():
        print(
            f"{way:16} causes = faults in {right} of {asked.cases} ({right / asked.cases:.0%}), "
            f"mean Rand index {index:.3f}"
        )


if __name__ == "__main__":
    main()
