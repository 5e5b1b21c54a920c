"""Writes a new module from the templates beside this file: as a package of its own, or into the tree of COS."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from cos.errors import BadInput, Conflict, NotFound

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,23}")
_IMPORT: Final = re.compile(r"from (cos[\w.]*) import [^(]+")

#: Where each template of a package goes.
PACKAGE: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "src/cos_{name}/__init__.py",
    **{
        f"{one}.py": f"src/cos_{{name}}/{one}.py"
        for one in ("module", "settings", "tables", "schemas", "service", "deps", "router", "highway")
    },
    "revision.py": "src/cos_{name}/migrations/versions/0001_first.py",
    "conftest.py": "tests/conftest.py",
    "test_routes.py": "tests/test_routes.py",
    "test_tables.py": "tests/test_tables.py",
}
#: And each template of a feature in COS's own tree.
TREE: Final = {
    "init.py": "src/cos/backend/{name}/__init__.py",
    **{
        f"{one}.py": f"src/cos/backend/{{name}}/{one}.py"
        for one in ("tables", "schemas", "service", "deps", "router")
    },
    "revision.py": "src/cos/migrations/versions/{revision}_{name}.py",
    "test_routes.py": "tests/contract/test_{name}.py",
    "test_service.py": "tests/unit/backend/{name}/test_service.py",
    "docs.md": "docs/{name}.md",
}


#: What `make docs` runs, with the tree's own source whichever COS is installed.
_DOCS: Final = """
import runpy, sys
sys.path.insert(0, "src")
runpy.run_path("scripts/docs.py", run_name="__main__")
"""
#: What a feature in the tree adds to files that are there: the file, the place in it, and what is put there.
_ADDED: Final = (
    (
        "src/cos/backend/app.py",
        r"^from cos\.backend\.traced",
        "from cos.backend.{name}.router import router as {name}\n",
    ),
    ("src/cos/backend/app.py", r'^    "dashboard": dashboard', '    "{name}": {name},\n'),
    ("src/cos/backend/auth/scopes.py", r'^    Rule\("/modules', '    Rule("/{name}", READ, WRITE),\n'),
    ("pyproject.toml", r'(?<=^    "highway )\| ', "| {name} "),
    ("src/cos/migrations/apply.py", r'(?<=^HEAD = ")\d+"$', '{revision}"'),
    ("src/cos/migrations/apply.py", r"(?<!^)\)$", ', "{revision}")'),
    ("tests/conftest.py", r"(?<=^_TABLES = \(\n)", '    "{name}.item, "\n'),
)


def package(name: str, folder: Path) -> list[Path]:
    """Write a package that adds a module to COS; gives its files.

    Raises:
        BadInput: the name cannot be used.
        Conflict: something is in the folder.
    """
    check_name(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there already and not empty; name a folder that is new.")
    values = {"name": name, "NAME": name.upper(), "dashed": name.replace("_", "-")}
    made = _written(folder, "package", PACKAGE, values)
    for path in (f"src/cos_{name}/py.typed", f"src/cos_{name}/migrations/__init__.py"):
        made.append(_write(folder / path, "" if path.endswith("typed") else '"""The revisions."""\n'))
    versions = folder / f"src/cos_{name}/migrations/versions/__init__.py"
    return [*made, _write(versions, '"""One file a revision."""\n')]


def feature(name: str, root: Path) -> list[Path]:
    """Write a feature into a source tree of COS, and what leads to it; gives the files that are new or changed.

    Raises:
        BadInput: the name cannot be used.
        Conflict: the tree has something of that name, or is not as it was when this was written.
        NotFound: the folder is no source tree of COS.
    """
    check_name(name)
    if not (root / "src/cos/backend/app.py").is_file():
        raise NotFound(
            f"{root} is not the source tree of COS; for a package of its own: cos module new {name} --package FOLDER"
        )
    number = 1 + max(int(one.name[:4]) for one in (root / "src/cos/migrations/versions").glob("[0-9]*.py"))
    values = {"name": name, "revision": f"{number:04}", "before": f"{number - 1:04}"}
    for path in (target.format(**values) for target in TREE.values()):
        if (root / path).exists() or (root / path).with_suffix("").exists():
            raise Conflict(f"{root / path} is there already; choose another name.")
    changed = _changed(root, values)
    made = _written(root, "tree", TREE, values)
    for file, text in changed.items():
        file.write_text(text)
    command = [sys.executable, "-c", _DOCS]
    subprocess.run(command, cwd=root, check=False, capture_output=True)  # noqa: S603  (ours)
    return [*made, *changed]


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a package, a schema and a path; raises BadInput."""
    if _NAME.fullmatch(name) is None or keyword.iskeyword(name):
        raise BadInput(
            f"A module cannot be called {ascii(name)[:80]}: a small letter, then small letters, digits and _, "
            "at most 24 characters, and no word of Python."
        )


def _written(root: Path, kind: str, targets: dict[str, str], values: dict[str, str]) -> list[Path]:
    templates = files("cos.cli.scaffold") / kind
    return [
        _write(
            root / target.format(**values), _filled((templates / f"{name}.tmpl").read_text("utf-8"), values)
        )
        for name, target in targets.items()
    ]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    return _sorted(text)


def _sorted(text: str) -> str:
    """Sort each run of imports of COS by module: where a name stands among them depends on the name."""
    lines = text.splitlines(keepends=True)
    begins = 0
    while begins < len(lines):
        ends = begins
        while ends < len(lines) and _IMPORT.match(lines[ends]):
            ends += 1
        lines[begins:ends] = sorted(lines[begins:ends], key=_module)
        begins = ends + 1
    return "".join(lines)


def _module(line: str) -> str:
    found = _IMPORT.match(line)
    return found[1] if found else ""


def _changed(root: Path, values: dict[str, str]) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for name, place, added in _ADDED:
        path = root / name
        text = texts.get(path) or path.read_text(encoding="utf-8")
        found = re.search(place, text, re.MULTILINE)
        if found is None:
            raise Conflict(
                f"{path} has no place for a feature any more; add it there by hand: {added.strip()}"
            )
        keeps = "" if found[0][-1:] in {'"', ")"} else found[0]
        texts[path] = text[: found.start()] + added.format(**values) + keeps + text[found.end() :]
    return {path: _sorted(text) if path.name == "app.py" else text for path, text in texts.items()}
