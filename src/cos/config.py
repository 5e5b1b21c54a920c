"""Settings: the only reader of the environment and of the settings file."""  # house: length (one subject)

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import platformdirs
from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cos.errors import BadSetting

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
#: The settings file of a data folder; `COS_CONFIG` or an argument names another.
FILE_NAME: Final = "cos.toml"
#: A settings file is short; a longer one is something else, and is not read into memory.
MOST_FILE_BYTES: Final = 1024 * 1024
#: The table of the settings file that holds one for each module that a package adds.
MODULES: Final = "module"
#: What a running COS takes over when it is told to read its settings again; the others need a restart.
LIVE: Final = (
    "log_level",
    "log_max_bytes",
    "log_files",
    "max_data_bytes",
    "max_data_depth",
    "max_body_bytes",
)


def _scheme(allowed: tuple[str, ...]) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(allowed):
            msg = f"must start with {' or '.join(allowed)}"
            raise ValueError(msg)
        return url

    return AfterValidator(check)


class Settings(BaseSettings):
    """Everything that can be set: from arguments first, `COS_…` variables second, the settings file third.

    Build one with `load_settings`, which turns a bad value into a `BadSetting` that names it.
    """

    model_config = SettingsConfigDict(env_prefix="COS_", extra="ignore", frozen=True, env_ignore_empty=True)

    _arguments: dict[str, Any] = PrivateAttr(default_factory=dict)

    config: Path | None = Field(
        default=None,
        description="File of settings in TOML, named as here without COS_ and in lower case; "
        f"by default {FILE_NAME} in the data folder, if it is there.",
    )
    data_dir: Path = Field(
        default_factory=lambda: _default_folder(),  # noqa: PLW0108  (defined below)
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
    host: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default="127.0.0.1",
        description="Address that the API listens on; any but a loopback one asks for tokens.",
    )
    hosts: str = Field(
        default="",
        description="Further host names under which the API is reached, by commas; with any, it asks for tokens.",
    )
    origins: str = Field(
        default="",
        description="Web origins beside its own whose pages may write, by commas, such as `http://localhost:5173`.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, by commas.",
    )
    require_token: bool = Field(default=False, description="Whether the API asks for tokens on loopback too.")
    token: SecretStr | None = Field(
        default=None, description="Token that the command line sends; wins over one in a file."
    )
    token_file: Path | None = Field(
        default=None,
        description="File (mode 0600) with the token that the command line sends; else `token` in the data folder.",
    )
    session_hours: int = Field(
        default=12, ge=1, le=720, description="How long a sign-in to the page lasts, in hours."
    )
    rate_per_second: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Requests a second of one token or address; 0 is no limit. Not set: 200, on loopback no limit.",
    )
    rate_burst: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Requests of one token or address that may come at once.",
    )
    max_url_bytes: int = Field(
        default=8192, ge=256, le=65_536, description="Longest address of a request, in bytes."
    )
    max_header_bytes: int = Field(
        default=32_768, ge=1024, le=1024 * 1024, description="Largest headers of a request, in bytes."
    )
    max_headers: int = Field(default=100, ge=10, le=1000, description="Most headers of a request.")
    header_timeout_seconds: float = Field(
        default=10.0, gt=0, le=600, description="How long a request's headers may take to arrive, in seconds."
    )
    body_timeout_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="Longest pause within a request's body, in seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="Shape of COS's own log lines; `auto` is text on a terminal, else JSON."
    )
    log_max_bytes: int = Field(
        default=10 * 1024 * 1024,
        ge=64 * 1024,
        le=10 * 1024**3,
        description="Size at which a log file of the data folder is set aside and begun anew, in bytes.",
    )
    log_files: int = Field(
        default=3, ge=0, le=100, description="How many older files of each log are kept beside it."
    )
    otlp_url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        default=None,
        description="Where spans are sent (OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces); without it none "
        "are made. Needs the extra `telemetry`.",
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
    scratch_ttl_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="How long a scratch note lives that does not say so itself, in days.",
    )
    scratch_cleanup: bool = Field(
        default=True, description="Whether scratch notes are deleted when their time is up."
    )
    scratch_cleanup_batch: int = Field(
        default=1000, ge=1, le=100_000, description="Most scratch notes that are deleted in one transaction."
    )
    scratch_cleanup_seconds: float = Field(
        default=300.0, gt=0, le=86_400, description="How often scratch notes are cleaned up, in seconds."
    )
    scratch_extend_on_read: bool = Field(
        default=False, description="Whether reading a scratch note gives it its whole time anew."
    )
    webhook_allow: str = Field(
        default="",
        description="Networks and addresses that may get webhooks though not public, by commas: 10.1.0.0/16,::1.",
    )
    webhook_ca_file: Path | None = Field(
        default=None,
        description="File of certificate authorities in PEM that webhooks trust besides the public ones.",
    )
    webhook_concurrency: int = Field(
        default=50, ge=1, le=1000, description="Webhooks that one process sends at once."
    )
    webhook_deadline_seconds: float = Field(
        default=15.0, gt=0, le=300, description="How long one try of a webhook may take, in seconds."
    )
    webhook_disable_seconds: float = Field(
        default=5 * 86_400.0,
        gt=0,
        le=10_000_000,
        description="An endpoint whose webhooks fail so long is disabled, in seconds.",
    )
    webhook_overlap_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=10_000_000,
        description="How long an exchanged secret of a webhook signs beside the new one, in seconds.",
    )
    webhook_retry_after_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=10_000_000,
        description="The longest pause that a webhook's answer may ask for (Retry-After), in seconds.",
    )
    webhook_retry_seconds: Annotated[str, Field(pattern=r"^[0-9.]+(,[0-9.]+)*$")] = Field(
        default="5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Pauses before a webhook's second and each later try, in seconds; then it is a dead letter.",
    )
    stop_timeout_seconds: float = Field(
        default=4.0,
        gt=0,
        le=300,
        description="How long requests in flight may take to finish at a stop, in seconds.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One setting as it is now.

    Attributes:
        name: of the field.
        variable: that sets it.
        value: as JSON; a secret is masked.
        origin: `default`, `environment`, `argument`, or the path of the file that sets it.
        live: whether a running COS takes a change over without a restart.
        description: what it sets.
    """

    name: str
    variable: str
    value: Any
    origin: str
    live: bool
    description: str


def load_settings(**arguments: Any) -> Settings:
    """Read the settings; arguments that are None count as not given.

    Args:
        **arguments: values by field name, which win over the environment, which wins over the file.

    Returns:
        The validated, frozen settings.

    Raises:
        BadSetting: names the first bad setting, its value (unless it is secret) and what is allowed; or the file that
            cannot be read.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    path, from_file = _file(given)
    try:
        settings = Settings(**{**from_file, **given})
    except ValidationError as error:
        raise BadSetting(_sentence(error, given, from_file, path)) from None
    settings._arguments = given  # noqa: SLF001  (what this module keeps for reload)
    return settings


def explain(settings: Settings) -> list[Explained]:
    """Say of each setting what it is and where that came from, in the order of the documentation."""
    given = settings._arguments  # noqa: SLF001  (kept there by load_settings)
    path, from_file = _file(given)
    return [
        Explained(
            name=name,
            variable=_variable(name),
            value=shown(getattr(settings, name)),
            origin=_origin(name, given, from_file, path),
            live=name in LIVE,
            description=str(field.description),
        )
        for name, field in Settings.model_fields.items()
    ]


def reload(settings: Settings) -> tuple[list[str], list[str]]:
    """Read the settings of a running process again.

    The object is the one that all parts of the process hold: what can change, changes in it.

    Returns:
        The names of those that changed, and of those that need a restart for their change.

    Raises:
        BadSetting: nothing is changed then.
    """
    new = load_settings(**settings._arguments)  # noqa: SLF001  (kept there by load_settings)
    changed = [name for name in Settings.model_fields if getattr(new, name) != getattr(settings, name)]
    taken = [name for name in changed if name in LIVE]
    for name in taken:
        settings.__dict__[name] = getattr(new, name)
    return taken, [name for name in changed if name not in LIVE]


def settings_file(settings: Settings) -> tuple[Path | None, dict[str, Any]]:
    """Give the settings file that these settings came from, if there is one, and what it says; raises BadSetting."""
    return _file(settings._arguments)  # noqa: SLF001  (kept there by load_settings)


def is_set(variable: str) -> bool:
    """Say whether the environment sets a variable, in letters of any case, to more than nothing."""
    return any(name.upper() == variable and value for name, value in os.environ.items())


def _file(given: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """Read the settings file, if there is one, without what the environment sets."""
    named = given.get("config") or os.environ.get("COS_CONFIG")
    folder = given.get("data_dir") or os.environ.get("COS_DATA_DIR") or _default_folder()
    path = Path(named or Path(folder, FILE_NAME)).expanduser()
    try:
        found = _read(path, waits=named is not None)
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise BadSetting(f"There is no settings file {path}.") from None
        return None, {}
    except OSError as error:
        advice = " Run cos doctor --fix." if isinstance(error, PermissionError) and not named else ""
        raise BadSetting(
            f"The settings file {path} cannot be read: {(error.strerror or str(error)).lower()}.{advice}"
        ) from None
    modules = found.get(MODULES, {})
    if not isinstance(modules, dict) or not all(isinstance(one, dict) for one in modules.values()):
        raise BadSetting(f"The settings file {path} has a module that is no table; write [module.NAME].")
    for name in found:
        if name == MODULES:
            continue
        if name not in Settings.model_fields or name == "config" or (name == "data_dir" and not named):
            known = ", ".join(one for one in Settings.model_fields if one != "config")
            raise BadSetting(f"The settings file {path} sets {name[:60]!r}, which is none of {known}.")
    in_environment = {name for name in found if is_set(_variable(name))}
    return path, {name: value for name, value in found.items() if name not in in_environment}


def _read(path: Path, *, waits: bool) -> dict[str, Any]:
    """Read what a file says; raises OSError, or BadSetting where it is no TOML."""
    if path.is_fifo() and not waits:  # a named one is what a shell gives for <(…)
        raise BadSetting(f"The settings file {path} is a pipe, and nobody may ever write to it: remove it.")
    with path.open("rb") as file:
        text = file.read(MOST_FILE_BYTES + 1)
    if len(text) > MOST_FILE_BYTES:
        raise BadSetting(
            f"The settings file {path} is longer than {MOST_FILE_BYTES // 1024} KiB, so it is hardly one; name "
            "another with COS_CONFIG, or shorten it."
        )
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSetting(f"The settings file {path} is not TOML: {str(error).rstrip('.')}.") from None


def folder_without_file(data_dir: Path | None) -> Path:
    """Give the data folder as far as it is known without the settings file, for when that cannot be read."""
    return Path(data_dir or os.environ.get("COS_DATA_DIR") or _default_folder())


def _default_folder() -> Path:
    return Path(platformdirs.user_data_dir("cos", appauthor=False))


def _variable(name: str) -> str:
    return f"COS_{name.upper()}"


def _origin(name: str, given: dict[str, Any], from_file: dict[str, Any], path: Path | None) -> str:
    if name in given:
        return "argument"
    if is_set(_variable(name)):
        return "environment"
    return str(path) if name in from_file else "default"


def shown(value: Any) -> Any:
    """Give a setting's value as JSON shows it, a secret masked."""
    if isinstance(value, SecretStr):
        return str(value)
    return str(value) if isinstance(value, Path) else value


def _sentence(
    error: ValidationError, given: dict[str, Any], from_file: dict[str, Any], path: Path | None
) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "?"
    secret = name.endswith("_url") or name == "token"
    value = "" if secret else f"={first['input']}"
    reason = first["msg"].removeprefix("Value error, ")
    shown = _variable(name) if name not in from_file or name in given else name
    where = f" in {path}" if shown == name else ""
    return f"The setting {shown}{value}{where} cannot be used: {reason[:1].lower()}{reason[1:]}."
