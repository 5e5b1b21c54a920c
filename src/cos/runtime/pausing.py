"""Processes of a running COS that somebody has paused (SIGSTOP): found, named, continued."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import psutil

from cos.infra.lock import read_object
from cos.runtime.detach import running_process
from cos.runtime.fault import Fault

if TYPE_CHECKING:
    from pathlib import Path


def paused(path: Path) -> Iterator[Fault]:
    """Find what is paused of the COS that runs in a data folder: itself, its servers, their children."""
    run = read_object(path / "run.json") or {}
    cos = running_process(run)
    if cos is None:
        return
    stopped: dict[str, list[psutil.Process]] = {}
    for one in _family(cos):
        if _is_paused(one):
            stopped.setdefault("COS" if one.pid == cos.pid else _name(one), []).append(one)
    for name, processes in stopped.items():
        pids = ", ".join(str(one.pid) for one in processes)
        yield Fault(
            found=f"{name} is paused (process {pids})",
            mend=partial(_continued, name, processes),
            advice="cos doctor --fix continues it",
        )


def _continued(name: str, processes: list[psutil.Process]) -> str:
    for one in processes:
        try:
            one.resume()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return f"{name} belongs to another account and stays paused: run kill -CONT {one.pid} as that account"
    return f"{name} goes on"


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "a child of COS"


def _is_paused(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
