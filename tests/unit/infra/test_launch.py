"""One-off programs behind the guard."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cos.infra.launch import run_guarded


async def test_output_input_and_code_are_passed():
    code, text = await run_guarded(
        ["/bin/sh", "-c", "cat; echo bad >&2; exit 3"],
        stop_signal=signal.SIGTERM,
        timeout_seconds=20,
        stdin=b"good\n",
    )

    assert (code, text) == (3, "good\nbad\n")


async def test_late_program_is_killed(tmp_path, gone):
    with pytest.raises(TimeoutError):
        await run_guarded(
            ["/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"],
            stop_signal=signal.SIGTERM,
            timeout_seconds=0.5,
        )

    assert gone(int((tmp_path / "pid").read_text()))


async def test_cancelled_program_is_killed(tmp_path, gone, eventually):
    running = asyncio.create_task(
        run_guarded(
            ["/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"],
            stop_signal=signal.SIGTERM,
            timeout_seconds=60,
        )
    )
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert gone(int((tmp_path / "pid").read_text()))
