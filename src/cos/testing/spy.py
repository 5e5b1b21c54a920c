"""Records the calls of a function wherever it is referred to, and lets each call through.

An event's listeners, a dispatcher's list or a closure hold the function itself: to put another one under its name would
be seen by none of them. So for a time the function's own code is replaced by a call of the recorder, which calls the
original code.
"""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Callable
from typing import Any

from cos.testing.commit_errors import NoSuchHook

_MARK = "recorder"


def _passing(*args: Any, **kwargs: Any) -> Any:
    recorder: Any = (
        "recorder"  # of the copy of this code that a function gets, the constant is its own recorder
    )
    return recorder(*args, **kwargs)


def find(hook: Callable[..., Any] | str) -> types.FunctionType:
    """Find the function that is meant.

    Args:
        hook: the function, a bound method, a partial of one, or `package.module:name.of.it`.

    Raises:
        NoSuchHook: there is none, or it is not written in Python.
    """
    found: Any = hook
    if isinstance(hook, str):
        module, colon, path = hook.partition(":")
        try:
            found = (
                functools.reduce(getattr, path.split("."), importlib.import_module(module)) if colon else None
            )
        except (ImportError, AttributeError) as error:
            raise NoSuchHook(
                f"The hook {hook!r} is not there ({error}): give 'package.module:name'."
            ) from None
    while isinstance(found, functools.partial):
        found = found.func
    found = getattr(found, "__func__", found)
    if not isinstance(found, types.FunctionType):
        raise NoSuchHook(
            f"The hook {hook!r} is no Python function: give a function or 'package.module:name'."
        )
    return found


class Spy:
    """A function that is listened to; `end` gives it its own code back."""

    def __init__(
        self, function: types.FunctionType, called: Callable[[tuple[Any, ...], dict[str, Any]], None]
    ) -> None:
        """Begin to listen.

        Args:
            function: as `find` gives it.
            called: told the arguments before each call.
        """
        self.function = function
        self._code = function.__code__
        original = types.FunctionType(
            self._code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        original.__kwdefaults__ = function.__kwdefaults__

        def recorder(*args: Any, **kwargs: Any) -> Any:
            called(args, kwargs)
            return original(*args, **kwargs)

        code = _passing.__code__
        function.__code__ = code.replace(
            co_consts=tuple(recorder if one == _MARK else one for one in code.co_consts),
            co_freevars=self._code.co_freevars,
            co_name=self._code.co_name,
            co_qualname=self._code.co_qualname,
        )

    @property
    def name(self) -> str:
        """The module and name of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def end(self) -> None:
        """Listen no more."""
        self.function.__code__ = self._code
