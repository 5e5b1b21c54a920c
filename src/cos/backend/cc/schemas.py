"""The shapes of the control centre's API."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field


def _storable(text: str) -> str:
    if "\x00" in text:
        msg = "holds a NUL character, which cannot be stored"
        raise ValueError(msg)
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = "holds half of a surrogate pair, which is no valid text"
        raise ValueError(msg) from None
    return text


def written_out(value: Any) -> Any:
    """Refuse a time that is given as a number; raises ValueError."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    msg = "write a time out, such as 2026-01-31T12:00:00Z"
    raise ValueError(msg)


#: A number would be taken for seconds since 1970, which nobody who sends one is sure to mean.
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

Text = Annotated[str, AfterValidator(_storable)]
Time = Annotated[AwareDatetime, BeforeValidator(written_out)]
Name = Annotated[Text, Field(min_length=1, max_length=255, examples=["book-editor"])]
Version = Annotated[Text, Field(min_length=1, max_length=50, examples=["1.4.0"])]
Config = Annotated[Text, Field(max_length=65_536, examples=['{"autosave_seconds": 3}'])]


class Status(BaseModel):
    """That the process answers."""

    status: str = "ok"


class ConfigView(BaseModel):
    """What runs here."""

    version: str
    modules_loaded: list[str]


class BreakerState(BaseModel):
    """The circuit breaker in front of Redis, as it stands."""

    state: str = Field(description="CLOSED, OPEN or HALF_OPEN")
    failure_count: int = Field(description="failures in a row")
    last_failure_time: datetime | None = None
    next_attempt_time: datetime | None = None


class DeadLetters(BaseModel):
    """One queue of dead letters."""

    size: int
    channel: str
    oldest_message_time: datetime | None = None
    newest_message_time: datetime | None = None


class EnhancedHealth(BaseModel):
    """Health, measured for this answer."""

    status: str = Field(description="healthy, degraded (Redis is away) or unhealthy (Postgres is away)")
    timestamp: datetime
    circuit_breaker_state: BreakerState
    dlq_metrics: list[DeadLetters] = Field(
        description="one entry a consumer group with letters that are not delivered"
    )
    uptime_seconds: float
    redis_connected: bool
    causes: list[str] = Field(default_factory=list, description="what is wrong, in words")


class HealthRecord(BaseModel):
    """What a module last told of itself, or COS measured of it."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="a new one with each record")
    module: str
    status: str = Field(
        description="healthy, degraded, unhealthy, or offline when nothing was heard for 90 s"
    )
    last_updated: datetime
    details: dict[str, Any] | None = None


class ModuleHealth(BaseModel):
    """One module in the health of the system."""

    module: str
    status: str
    last_updated: datetime


class SystemHealth(BaseModel):
    """The health of all modules that have told of themselves."""

    overall_status: str = Field(
        description="healthy, degraded (some module is not well) or unhealthy (cc is not)"
    )
    modules: list[ModuleHealth]
    timestamp: datetime


class Heartbeat(BaseModel):
    """What a module tells of itself."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
    details: dict[str, Any] | None = Field(default=None, examples=[{"open_documents": 3}])


class PingIn(BaseModel):
    """Which module to ask."""

    module: Name


class PingOut(BaseModel):
    """What came back."""

    module: str
    status: str = Field(
        description="healthy (it answered), degraded (it answered late, or tells of itself but does not answer), "
        "offline (registered, and silent) or unknown (no such module)"
    )
    latency_ms: int = Field(description="of the whole round trip, in milliseconds; 0 when there was none")


class ConnectionPool(BaseModel):
    """The connections of this process to Redis."""

    max_connections: int
    active_connections: int
    idle_connections: int
    status: str = Field(description="ok, or exhausted when all are in use")


class RedisPerformance(BaseModel):
    """How Redis answers; None where it was not measured."""

    ping_latency_ms: float | None = None
    last_successful_operation: datetime | None = None
    operations_per_second: float | None = Field(
        default=None, description="as Redis counts them, of all clients"
    )
    error_rate: float | None = Field(
        default=None, description="share of this process's guarded calls that failed"
    )


class RedisHealth(BaseModel):
    """Redis, measured for this answer; the answer is always 200."""

    status: str = Field(description="healthy, degraded (it answers, the breaker is not closed) or unhealthy")
    timestamp: datetime
    connection_pool: ConnectionPool
    performance_metrics: RedisPerformance
    redis_info: dict[str, Any] = Field(
        description="what Redis tells of itself: version, memory, clients, keys"
    )
    circuit_breaker: BreakerState
    error: str | None = None


class ModuleIn(BaseModel):
    """A new module."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    version: Version
    config: Config | None = None


class ModulePatch(BaseModel):
    """What to change of a module; what is left out stays, `config: null` removes the configuration."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    version: Version | None = None
    active: bool | None = None
    config: Config | None = None


class Module(BaseModel):
    """A module as it is registered."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    version: str
    active: bool
    last_active: datetime | None = None
    config: str | None = None


class DebugLogIn(BaseModel):
    """An event to write, commit, and follow into its stream."""

    event_type: str = Field(min_length=1, max_length=100, examples=["debug.ping"])
    payload: Any = None
    prompt_data: dict[str, Any] | None = None
    request_id: str | None = None
    trace_id: str | None = None


class LogIds(BaseModel):
    """What was written."""

    base_log_id: str
    event_log_id: str | None = None
    prompt_trace_id: str | None = None


class RedisValidation(BaseModel):
    """Whether the event was found in its stream, and what stood there."""

    publish_success: bool
    published_message: dict[str, Any] | None = None
    redis_latency_ms: float | None = Field(
        default=None, description="from the commit to the entry being read back"
    )
    connection_status: str = Field(description="connected, disconnected or error")
    error_details: str | None = None


class DebugLogOut(BaseModel):
    """The whole way of one event, measured."""

    success: bool
    message: str
    log_ids: LogIds
    performance_ms: float = Field(description="of the write and its commit")
    redis_validation: RedisValidation
