"""Finds the highways that a process runs: what installed packages offer, and what the setting names."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cos.errors import BadSetting
from cos.memory.highway import Highway

if TYPE_CHECKING:
    from cos.config import Settings

GROUP = "cos.subscribers"
_ATTRIBUTE = "highway"


def found(settings: Settings) -> list[Highway]:
    """Load the highways of the entry points in the group `cos.subscribers`, and those of `COS_SUBSCRIBERS`.

    A module that the setting names is also looked for in the working directory.

    Raises:
        BadSetting: one cannot be loaded; the sentence says which, and why.
    """
    highways = [_checked(f"the entry point {one.name}", one.load) for one in entry_points(group=GROUP)]
    for name in filter(None, (part.strip() for part in settings.subscribers.split(","))):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        module, _, attribute = name.partition(":")
        highways.append(_checked(name, lambda m=module, a=attribute: _load(m, a or _ATTRIBUTE)))
    return list(dict.fromkeys(highways))


def _load(module: str, attribute: str) -> Any:
    return getattr(importlib.import_module(module), attribute)


def _checked(name: str, load: Any) -> Highway:
    try:
        loaded = load()
    except BadSetting:
        raise
    except Exception as error:
        raise BadSetting(
            f"The subscribers of {name} cannot be loaded: {type(error).__name__}: {error}. "
            "COS_SUBSCRIBERS names modules, as package.module or package.module:attribute, separated by commas."
        ) from error
    if not isinstance(loaded, Highway):
        raise BadSetting(
            f"The subscribers of {name} are {type(loaded).__name__}, not a cos.memory.highway.Highway."
        )
    return loaded
