"""The shapes of the webhooks' API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cos.backend.cc.schemas import Text as Storable
from cos.common.target import MAX_URL
from cos.memory.selection import MAX_NAMES

MAX_SECRET = 200

State = Literal["active", "failing", "paused", "disabled"]
Url = Annotated[Storable, Field(max_length=MAX_URL, examples=["https://example.com/cos"])]
Description = Annotated[Storable, Field(max_length=500)]
Names = Annotated[list[Annotated[Storable, Field(min_length=1, max_length=500)]], Field(max_length=MAX_NAMES)]
Position = Annotated[Storable, Field(max_length=60, examples=["812-1734"])]
Secret = Annotated[
    SecretStr,
    Field(max_length=MAX_SECRET, description="`whsec_` and 24 to 64 bytes in base64; a new one if absent"),
]


class WebhookIn(BaseModel):
    """A new webhook; without modules, types and subjects it gets every event."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    description: Description = ""
    modules: Names = Field(default=[], description="only events of these modules")
    types: Names = Field(default=[], description="only events of these types; a trailing `*` matches more")
    subjects: Names = Field(default=[], description="only events about these subjects")
    after: Position | None = Field(
        default=None,
        description="begin after this position (0-0: with the oldest event); from now on if absent",
    )
    secret: Secret | None = None


class WebhookPatch(BaseModel):
    """What to change of a webhook; what is left out stays. A failing one is then tried at once."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    description: Description | None = None
    modules: Names | None = None
    types: Names | None = None
    subjects: Names | None = None


class Why(BaseModel):
    """Why a webhook is paused."""

    model_config = ConfigDict(extra="forbid")

    reason: Description | None = None


class Begin(BaseModel):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid")

    begin: Literal["where_it_stood", "now"] = Field(
        default="where_it_stood",
        description="with the next event that was not delivered, or with what comes from now on",
    )


class Exchange(BaseModel):
    """How to exchange a secret."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: float | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        description="how long the old one signs too; by default as the settings say",
    )
    secret: Secret | None = None


class Webhook(BaseModel):
    """A webhook as it stands, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str
    description: str
    modules: list[str]
    types: list[str]
    subjects: list[str]
    state: State
    reason: str | None = Field(description="why it is disabled or paused")
    state_since: datetime = Field(description="when it was made active, paused or disabled")
    position: str = Field(description="up to here everything was delivered, or is a dead letter")
    attempts: int = Field(description="tries of the next event so far")
    next_attempt_at: datetime | None = Field(description="when it is tried again")
    failing_since: datetime | None
    failures: int = Field(description="tries in a row that failed")
    error: str | None = Field(description="of the last one that failed")
    delivered: int = Field(description="events that it took")
    buried: int = Field(description="events that became dead letters")
    dead_letters: int = Field(description="of these, how many wait for a decision")
    last_delivered_at: datetime | None
    created_at: datetime
    changed_at: datetime


class WebhookMade(Webhook):
    """A webhook with its new secret: the only time that it is shown."""

    secret: str = Field(description="`whsec_…`, to verify signatures with; it is not shown again")


class Webhooks(BaseModel):
    """Some webhooks, newest first, and where to go on: null when these were the last."""

    webhooks: list[Webhook]
    next: UUID | None


class Attempt(BaseModel):
    """One try."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    event_id: UUID = Field(description="also the header `webhook-id`")
    position: str | None = Field(description="of the event; null for a test")
    type: str
    attempt: int = Field(description="the number of the try")
    delivered: bool
    status: int | None = Field(description="of the answer; null without one")
    error: str | None
    duration_ms: float
    at: datetime


class Attempts(BaseModel):
    """The last tries, newest first."""

    attempts: list[Attempt]
