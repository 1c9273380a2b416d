"""Waiting for what comes in its own time, on a machine that may be busy with something else."""

import asyncio
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

PATIENCE = 60.0
"""Seconds after which something is taken not to come any more."""


async def until(true: Callable[[], object], instead: Callable[[], object] = str) -> None:
    """Let the loop work until something is true; if it never is, the test fails and tells what there is `instead`."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"What was waited for did not come. {instead()}")


async def until_shown(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """The same with a window, which has laid out and painted what came of it: it may be looked at and clicked on."""
    await until(true)
    await pilot._wait_for_screen()
    pilot.app.screen._on_timer_update()
