"""What runs in a data folder, measured from outside: works whoever asks, and when nothing answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cos
from cos.common import redis as redis_client
from cos.infra.folder import DataFolder
from cos.memory.streams import Streams
from cos.memory.vitals import Gauge, Vitals
from cos.runtime.detach import running_process

if TYPE_CHECKING:
    from cos.config import Settings

#: A relay this far behind is a cause of its own.
LAG_SECONDS = 10.0


async def status(settings: Settings) -> dict[str, Any]:
    """Give the state of COS in the data folder as JSON values.

    `health` is `ok`, `degraded` (it records, but something in `causes` does not work) or `down`.
    """
    folder = DataFolder.find(settings.data_dir)
    run = folder.read_run()
    if run is None or running_process(run) is None:
        return _stopped(str(folder.path))
    vitals = await _measure(settings, run)
    causes = [*_causes(run), *vitals.causes, *run.get("causes", [])]
    if vitals.lag_seconds is not None and vitals.lag_seconds > LAG_SECONDS:
        causes.append(
            f"The relay is {vitals.lag_events} events and {vitals.lag_seconds:.0f} s behind; "
            "an old open transaction may hold it back."
        )
    return {
        "data_dir": str(folder.path),
        "version": run.get("version"),
        "health": "down" if not vitals.postgres_answers else "degraded" if causes else "ok",
        "causes": list(dict.fromkeys(causes)),
        "since": run.get("since"),
        "api": run["api"],
        "postgres": run["postgres"],
        "redis": run["redis"],
        "relay": {
            **run.get("relay", {}),
            "lag_events": vitals.lag_events,
            "lag_seconds": vitals.lag_seconds,
        },
        "modules": run.get("modules", {}),
        "records": vitals.records,
        "streams": vitals.as_dict()["streams"],
    }


def _stopped(path: str) -> dict[str, Any]:
    nothing = {"url": None, "pid": None, "state": "stopped"}
    return {
        "data_dir": path,
        "version": cos.__version__,
        "health": "down",
        "causes": ["COS is not running here; start it with: cos up"],
        "since": None,
        "api": {"url": None, "pid": None},
        "postgres": dict(nothing),
        "redis": dict(nothing),
        "relay": {"state": "stopped", "lag_events": None, "lag_seconds": None},
        "modules": {},
        "records": None,
        "streams": {},
    }


async def _measure(settings: Settings, run: dict[str, Any]) -> Vitals:
    redis_url = run["redis"]["url"]
    client = redis_client.create_redis(redis_url)
    try:
        streams = Streams(redis=client, namespace=settings.redis_namespace)
        gauge = Gauge(url=run["postgres"]["url"], redis=client, redis_url=redis_url, streams=streams)
        try:
            return await gauge.measure()
        finally:
            await gauge.close()
    finally:
        await client.aclose()


def _causes(run: dict[str, Any]) -> list[str]:
    """Put into words what the process says of its servers and its relay."""
    causes = []
    for name in ("postgres", "redis"):
        server = run[name]
        if server["state"] not in {"running", "external"}:
            ended = f" ({server['last_exit']})" if server.get("last_exit") else ""
            causes.append(f"{name.title()} is {server['state']}{ended}; COS starts it again by itself.")
    causes += [one["error"] for one in run.get("modules", {}).values() if one["error"]]
    error = run.get("relay", {}).get("last_error")
    if error:
        causes.append(f"The relay: {error}")
    return causes
