"""The fold that the projection keeps and the checker computes again."""

from __future__ import annotations

import hashlib


def link(head: str, event: str) -> str:
    """Give the next hash of a chain, which shows every loss, repetition and change of order."""
    return hashlib.sha256(f"{head} {event}".encode()).hexdigest()
