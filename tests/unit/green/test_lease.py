"""What a mission may write."""

from __future__ import annotations

import pytest

from cos.green.lease import Lease, guarded, matches


@pytest.mark.parametrize(
    ("pattern", "path", "named"),
    [
        ("app/*.py", "app/a.py", True),
        ("app/*.py", "app/b/a.py", False),
        ("app/**", "app/b/a.py", True),
        ("**/conftest.py", "conftest.py", True),
        ("app/", "app/a.py", True),
        ("app/a.py", "app/abpy", False),
    ],
)
def test_globs(pattern: str, path: str, named: bool) -> None:
    assert matches(pattern, path) is named


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_a.py",
        "conftest.py",
        "pyproject.toml",
        ".github/workflows/ci.yml",
        "tests/data.json",
        "a.pth",
    ],
)
def test_what_decides_on_green_is_guarded_even_inside_a_lease(path: str) -> None:
    assert guarded(path)
    assert not Lease(("**",)).allows(path)
    assert Lease(("app/**",), (path,)).allows(path)


def test_leases_overlap_where_a_path_could_be_named_by_both() -> None:
    assert Lease(("app/a.py",)).overlaps(Lease(("app/**",)))
    assert Lease(("app/a*",)).overlaps(Lease(("app/ab*",)))
    assert not Lease(("app/a.py",)).overlaps(Lease(("app/b.py",)))
    assert not Lease(("app/a.py",), ("NOTES.md",)).overlaps(Lease(("app/b.py",), ("NOTES.md",)))
