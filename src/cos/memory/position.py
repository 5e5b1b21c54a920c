"""The place of a record in the log: (writing transaction, sequence), a total order that never changes."""

from __future__ import annotations

import re
from typing import NamedTuple

from cos.errors import BadInput

_FORM = re.compile(r"([0-9]{1,20})-([0-9]{1,19})")
_XACT_LIMIT = 2**64
_SEQ_LIMIT = 2**63


class Position(NamedTuple):
    """Where a record stands; written `xact-seq`, which is also the id of its stream entry."""

    xact: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xact}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `xact-seq`.

        Raises:
            BadInput: the text is no position.
        """
        found = _FORM.fullmatch(text)
        if found is not None:
            xact, seq = int(found[1]), int(found[2])
            if xact < _XACT_LIMIT and seq < _SEQ_LIMIT:
                return cls(xact, seq)
        raise BadInput(f"{text[:60]!r} is not a position; a position looks like 1234-56.")


START = Position(0, 0)
