"""The shapes of the highway's API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cos.backend.cc.schemas import Text as Storable
from cos.backend.cc.schemas import Time

Text = Annotated[Storable, Field(max_length=500)]


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        msg = "say true or false"
        raise ValueError(msg)  # noqa: TRY004  (what pydantic turns into an answer)
    return value


State = Literal["dead", "queued", "delivering", "delivered"]


class LetterFilter(BaseModel):
    """Which dead letters are meant; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid")

    group: Text | None = Field(default=None, description="buried by this group")
    module: Text | None = Field(default=None, description="of this module")
    type: Text | None = Field(default=None, description="of this type; a trailing `*` matches more")
    subject: Text | None = Field(default=None, description="about this subject")
    state: State | None = None
    since: Time | None = Field(default=None, description="failed last at this time or later")
    until: Time | None = Field(default=None, description="failed last before this time")


class LettersQuery(LetterFilter):
    """A page of dead letters."""

    before: UUID | None = Field(default=None, description="older than this letter: `next` of the page before")
    limit: int = Field(default=100, ge=1, le=1000)


class LettersMeant(LetterFilter):
    """Dead letters to decide about."""

    all: Annotated[bool, BeforeValidator(_no_number)] = Field(
        default=False, description="must be true where no filter is given"
    )


class Letter(BaseModel):
    """A dead letter, as a list shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    group: str = Field(validation_alias="group_name")
    module: str
    position: str
    type: str | None
    subject: str | None
    state: State
    error: str
    attempts: int = Field(description="how often it was tried, requeued deliveries included")
    deliveries: int = Field(description="how many of these were asked for by requeueing")
    first_failed_at: datetime
    last_failed_at: datetime
    requeued_at: datetime | None


class WholeLetter(Letter):
    """A dead letter with all that is known of it."""

    traceback: str
    event: Any = Field(description="the event's envelope, or what stood in the stream instead of one")


class Letters(BaseModel):
    """Some dead letters, newest first, and where to go on: null when these were the last."""

    letters: list[Letter]
    next: UUID | None


class Decided(BaseModel):
    """How many letters were requeued or dropped."""

    count: int


class GroupModule(BaseModel):
    """How far a group is in one module."""

    model_config = ConfigDict(from_attributes=True)

    module: str
    position: str = Field(description="up to which everything is done")
    pending: int | None = Field(description="handed out and not done; null while Redis does not answer")
    lag_events: int
    lag_seconds: float


class GroupView(BaseModel):
    """A consumer group as it stands, measured for this answer."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    definition: dict[str, Any]
    created_at: datetime
    seen_at: datetime = Field(description="when a process that runs it last started")
    consumers: int | None = Field(description="consumers that Redis knows; null while it does not answer")
    lag_events: int
    lag_seconds: float
    dead_letters: int
    modules: list[GroupModule]


class Slot(BaseModel):
    """One slot of a projection."""

    model_config = ConfigDict(from_attributes=True)

    slot: str
    version: int
    state: str = Field(description="running, paused or failed")
    position: str = Field(description="up to which every event has taken effect")
    events: int
    lag_events: int
    lag_seconds: float
    moved_at: datetime
    error: str | None
    failed_position: str | None
    definition: dict[str, Any]


class ProjectionView(BaseModel):
    """A projection as it stands, measured for this answer."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    name: str
    schema_name: str = Field(validation_alias="schema", description="where its tables are")
    live: Slot | None
    building: Slot | None = Field(description="what is built to take the place of `live`")
