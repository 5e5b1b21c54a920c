"""Settings: the only reader of the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cos.errors import BadSetting

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _scheme(allowed: tuple[str, ...]) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(allowed):
            msg = f"must start with {' or '.join(allowed)}"
            raise ValueError(msg)
        return url

    return AfterValidator(check)


class Settings(BaseSettings):
    """Everything that can be set, from arguments first and `COS_…` variables second.

    Build one with `load_settings`, which turns a bad value into a `BadSetting` that names it.
    """

    model_config = SettingsConfigDict(env_prefix="COS_", extra="ignore", frozen=True, env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("cos", appauthor=False)),
        description="Folder that holds the Postgres and Redis data, logs and the run state.",
    )
    database_url: Annotated[SecretStr, _scheme(_POSTGRES_SCHEMES)] | None = Field(
        default=None, description="An existing Postgres to use instead of the embedded one."
    )
    redis_url: Annotated[SecretStr, _scheme(_REDIS_SCHEMES)] | None = Field(
        default=None, description="An existing Redis to use instead of the embedded one."
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="TCP port of the API on 127.0.0.1; 0 takes a free one."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="Shape of COS's own log lines; `auto` is text on a terminal, else JSON."
    )
    fsync: bool = Field(
        default=True,
        description="Whether the embedded Postgres waits for the disk; off (tests only), a power cut loses data.",
    )
    max_data_bytes: int = Field(
        default=1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Largest `data` of one event, in bytes of JSON.",
    )
    max_data_depth: int = Field(
        default=64, ge=1, le=500, description="Deepest nesting of one event's `data`."
    )
    max_body_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="Largest request body that is not a stream of lines, in bytes.",
    )
    record_queue: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Records that may wait for the group commit at once."
    )
    record_timeout_seconds: float = Field(
        default=30.0, gt=0, le=600, description="How long a record may wait to become durable, in seconds."
    )
    relay_batch: int = Field(
        default=1000, ge=1, le=10_000, description="Most events that the relay moves at once."
    )
    relay_poll_seconds: float = Field(
        default=0.25,
        gt=0,
        le=60,
        description="How long a missed ring of the doorbell delays an event, in seconds.",
    )
    redis_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        default="mem0", description="First part of each Redis key and channel."
    )
    stream_length: int = Field(
        default=100_000,
        ge=1,
        le=1_000_000_000,
        description="Entries kept of each stream; more where a consumer group has not finished them.",
    )
    stream_age_seconds: float = Field(
        default=7 * 86_400.0,
        gt=0,
        le=10_000_000_000,
        description="About how long entries are kept in a stream; longer where a group has not finished them.",
    )
    stream_hard_length: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Entries of a stream beyond which also unfinished ones go, to be read from the log; 0: no limit.",
    )
    subscribers: str = Field(
        default="",
        description="Modules whose `highway` is run, beside installed ones: `package.module[:attribute]`, by commas.",
    )
    db_pool_size: int = Field(
        default=10, ge=2, le=500, description="Most Postgres connections of one process's API."
    )
    stop_timeout_seconds: float = Field(
        default=4.0,
        gt=0,
        le=300,
        description="How long requests in flight may take to finish at a stop, in seconds.",
    )


def load_settings(**arguments: Any) -> Settings:
    """Read the settings; arguments that are None count as not given.

    Args:
        **arguments: values by field name, which win over the environment.

    Returns:
        The validated, frozen settings.

    Raises:
        BadSetting: names the first bad setting, its value (unless it is secret) and what is allowed.
    """
    try:
        return Settings(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        raise BadSetting(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "?"
    secret = name.endswith("_url")
    value = "" if secret else f"={first['input']}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"The setting COS_{name.upper()}{value} cannot be used: {reason[:1].lower()}{reason[1:]}."
