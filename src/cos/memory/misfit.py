"""Puts into one sentence why an event's data does not fit what a handler or a projection reads it as."""

from __future__ import annotations

from itertools import islice

import pydantic

from cos.common.subscriber_policy import Unfit

_MOST_SAID = 5


def misfit(event_type: str, reader: str, error: Exception) -> Unfit:
    """Make the error.

    Args:
        event_type: of the event.
        reader: what its data does not fit, such as `handler`.
        error: what the reading library raised.
    """
    return Unfit(f"The data of {event_type} does not fit the {reader}: {_said(error)}.")


def _said(error: Exception) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return str(error).rstrip(".")
    found = error.errors(include_url=False, include_context=False, include_input=False)
    each = (f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}" for one in found)
    more = f"; and {len(found) - _MOST_SAID} more" if len(found) > _MOST_SAID else ""
    return "; ".join(islice(each, _MOST_SAID)) + more
