"""A process that ends by itself just before it is ended keeps its exit status, and nobody complains."""

import asyncio
import contextlib
import os

import pytest

from app.ending import end, gone


async def test_a_process_that_has_just_ended_tells_its_own_exit_status(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        process = await asyncio.create_subprocess_exec("true")
        with contextlib.suppress(ChildProcessError):  # waited for already
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        end(process)
        assert await process.wait() == 0
    assert not caplog.records


async def test_a_process_that_runs_is_ended() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    end(process)
    assert await process.wait() == -9


async def test_whoever_waits_for_its_end_does_so_however_often_they_are_to_give_up() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    waiting = asyncio.create_task(gone(process))
    for _ in range(2):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    end(process)
    await asyncio.wait([waiting])
    assert waiting.cancelled() and process.returncode == -9
