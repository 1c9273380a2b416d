"""Ending a process that asyncio has started.

Its own `kill` first looks whether the process has ended, and where it just has takes the exit status away from the
thread that waits for it, which then complains on standard error and tells of 255 (CPython 3.11, subprocess.Popen).
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process


def end(process: Process, by: signal.Signals = signal.SIGKILL) -> None:
    """Send `by` to a process that has not been waited for; one that is gone already is left alone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, by)


async def gone(process: Process) -> None:
    """Returns once a process that was told to end has ended, also where whoever waits is told to give up meanwhile.

    Who gives something up and then quits cancels its end too, and a process that outlives the loop complains on
    standard error that the loop is closed.
    """
    given_up: asyncio.CancelledError | None = None
    while True:
        try:
            await process.wait()
            break
        except asyncio.CancelledError as error:
            given_up = error
    if given_up is not None:
        raise given_up
