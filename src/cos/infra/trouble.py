"""Tells the log of a server in trouble, and loads what that takes only then."""

from __future__ import annotations


def warn(event: str, **fields: object) -> None:
    """Log a warning.

    Args:
        event: its name.
        **fields: what belongs to it.
    """
    # Loading structlog takes longer than starting a Redis, and a test session that goes well never logs.
    import structlog  # noqa: PLC0415

    structlog.get_logger("cos.infra").warning(event, **fields)
