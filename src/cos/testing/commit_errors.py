"""What the `commits` fixture finds."""

from __future__ import annotations

from cos.errors import BadInput, CosError


class HookNotRun(CosError, AssertionError):
    """Work that was expected after a commit did not run."""

    slug = "hook-not-run"


class HookTooEarly(CosError, AssertionError):
    """Work that belongs after a commit ran before anything was committed."""

    slug = "hook-too-early"


class NoSuchHook(BadInput):
    """What is expected to run cannot be watched."""

    slug = "no-such-hook"
