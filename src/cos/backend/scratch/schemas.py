"""The shapes of the scratch API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cos.backend.cc.schemas import Text

MAX_CONTENT = 1_000_000

Key = Annotated[Text, Field(min_length=1, max_length=255, examples=["chapter-3/open-questions"])]
Content = Annotated[Text, Field(max_length=MAX_CONTENT, examples=["Who reviews the index?"])]
TtlDays = Annotated[int, Field(ge=1, le=365, examples=[7])]


class NoteIn(BaseModel):
    """A new note; without `ttl_days` it lives as long as the settings say."""

    model_config = ConfigDict(extra="forbid")

    key: Key
    content: Content | None = None
    ttl_days: TtlDays | None = None


class NotePatch(BaseModel):
    """What to change of a note; what is left out stays. A `ttl_days` counts from now."""

    model_config = ConfigDict(extra="forbid")

    content: Content | None = None
    ttl_days: TtlDays | None = None


class Note(BaseModel):
    """A note as it is kept."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    key: str
    content: str | None = None
    created_at: datetime
    expires_at: datetime | None = None
    is_expired: bool = Field(description="whether its time is up; it is removed at the next clean-up")


class TtlSettings(BaseModel):
    """How notes go away."""

    default_ttl_days: int
    auto_cleanup_enabled: bool
    cleanup_batch_size: int


class Stats(BaseModel):
    """How many notes there are, counted for this answer."""

    total_notes: int
    active_notes: int
    expired_notes: int
    timestamp: datetime
    ttl_settings: TtlSettings


class Cleanup(BaseModel):
    """What a clean-up did."""

    status: str = Field(description="completed, or disabled by the settings", examples=["completed"])
    deleted: int


class Message(BaseModel):
    """What was done, in a sentence."""

    message: str
