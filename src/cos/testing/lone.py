"""Starts a module of the kit in a Python that loads nothing else: no site, no environment, not even `cos` itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# The packages are stood for by empty modules: what they load when they are imported takes longer than all the rest.
_BEGIN: Final = """
import runpy, sys, types
for name, place in (("cos", sys.argv[1]), ("cos.testing", sys.argv[2])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
sys.path += sys.argv[3].split("|") if sys.argv[3] else []
program = sys.argv[4]
sys.argv = [program, *sys.argv[5:]]
runpy.run_module(program, run_name="__main__")
"""
_HERE: Final = Path(__file__).parent


def start_alone(
    module: str, arguments: Sequence[str], *, descriptors: Sequence[int], paths: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a module as a program in a session of its own.

    Args:
        module: its full name, inside `cos.testing`.
        arguments: for it.
        descriptors: which of ours it inherits, under the same numbers.
        paths: further folders that it may import from.
    """
    return subprocess.Popen(  # noqa: S603  (our own program)
        [
            *(sys.executable, "-I", "-S", "-c", _BEGIN),
            *(str(_HERE.parent), str(_HERE), "|".join(paths), module, *arguments),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=tuple(descriptors),
        start_new_session=True,
        env={"PATH": os.defpath},
    )
