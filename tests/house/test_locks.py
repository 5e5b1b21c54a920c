"""The pinned versions: the same for `make` and for `uv run`, with hashes, and from no registry in particular."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

# In parts, so that this file does not carry what it looks for.
HOSTS = re.compile(
    "|".join(rf"{a}\.{b}" for a, b in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "(org|com)")])
)
#: Imported, but not from a distribution that COS asks for.
OTHERS = {
    "src/cos/green/probe/": {"pytest", "_pytest"},  # runs in another project, which has it
    "src/cos/testing/": {"pytest", "_pytest"},  # a plugin of pytest: who loads it has it (extra `testing`)
}


def canonical(name: str) -> str:
    """Give a distribution's name as all spellings of it agree."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements: list[str]) -> set[str]:
    """Give the names of the distributions that requirements ask for."""
    return {canonical(re.match(r"[\w.-]+", one)[0]) for one in requirements}


@pytest.fixture(scope="module")
def pyproject(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def lock(root) -> str:
    return (root / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def read_pins(script):
    return script("scripts/lock.py").read_pins


class TestLock:
    """requirements.lock and what repeats it."""

    def test_uv_run_is_held_to_the_same_versions(self, pyproject, lock, read_pins) -> None:
        """The constraints of pyproject.toml are the lock's pins; otherwise run `make lock`."""
        assert pyproject["tool"]["uv"]["constraint-dependencies"] == read_pins(lock), "run `make lock`"

    def test_build_tools_have_the_same_versions_too(self, pyproject, lock, read_pins) -> None:
        """What builds the project in an environment of its own is pinned as in ours."""
        build = pyproject["tool"]["uv"]["build-constraint-dependencies"]
        assert set(build) <= set(read_pins(lock))
        assert names_of(pyproject["build-system"]["requires"]) <= names_of(build)

    def test_every_dependency_is_in_it(self, pyproject, lock, read_pins) -> None:
        """No dependency is asked for that was not locked."""
        asked = [*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]]
        assert names_of(asked) - names_of(read_pins(lock)) == set()

    @pytest.mark.parametrize("path", ["requirements.lock", "scripts/bootstrap.lock"])
    def test_every_pin_is_exact_and_hashed(self, root, read_pins, path) -> None:
        """Each requirement names one version, and at least one hash follows it."""
        text = (root / path).read_text()
        blocks = re.split(r"(?m)^(?=\S)", text)[1:]
        right = re.compile(r"[\w.-]+==\S+[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}")
        assert len(blocks) == len(read_pins(text))
        assert [block for block in blocks if not right.match(block)] == []

    def test_pins_are_read_with_their_markers(self, read_pins) -> None:
        text = "a==1 \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\nb==2 ; os_name == 'nt' \\\n    --hash=sha256:2\n"
        assert read_pins(text) == ["a==1", "b==2 ; os_name == 'nt'"]


class TestRegistry:
    """Where packages come from is the machine's affair."""

    def test_no_file_names_a_registry(self, root, tracked) -> None:
        """A host written down would break every machine that has a mirror of its own."""
        texts = {path: (root / path).read_bytes().decode(errors="ignore") for path in tracked}
        assert [path for path, text in texts.items() if HOSTS.search(text)] == []

    def test_a_host_is_found(self) -> None:
        assert HOSTS.search("https://files.python" + "hosted.org/packages")
        assert not HOSTS.search("https://example.org/simple")


class TestImports:
    """What is imported is asked for."""

    def test_every_import_is_a_declared_dependency(self, modules, pyproject) -> None:
        """A package that is there only because another one needs it may go any day."""
        declared = names_of(pyproject["project"]["dependencies"])
        known = packages_distributions()
        undeclared = [
            f"{module.path}:{line}: {name}"
            for module in modules
            if module.path.startswith("src/")
            for line, name in module.imports
            if (top := name.split(".")[0]) not in sys.stdlib_module_names | {"cos"}
            if not names_of(known.get(top, [top])) & declared
            if not any(module.path.startswith(folder) and top in names for folder, names in OTHERS.items())
        ]
        assert "\n".join(undeclared) == ""
