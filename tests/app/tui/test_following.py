"""What is wanted changes with every key, and what is done for it is slow."""

import asyncio

import pytest
from textual.app import App

from app.tui.following import Following
from tests.waiting import until_shown


class Slow:
    """Does what it is asked, when the test lets it, and keeps what that was."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = asyncio.Event()

    async def do(self, wanted: str) -> None:
        self.done.append(wanted)
        await self.go.wait()
        if wanted == "wrong":
            raise ValueError(wanted)


@pytest.mark.parametrize("first", ["a", "wrong"])
async def test_one_is_done_at_a_time_and_then_the_last_of_the_others(first: str) -> None:
    app, slow = App[None](), Slow()
    async with app.run_test() as pilot:
        following = Following(app, slow.do)
        following.want(first)
        await until_shown(pilot, lambda: slow.done)
        for wanted in "bcd":
            following.want(wanted)
        assert slow.done == [first]
        slow.go.set()
        await until_shown(pilot, lambda: slow.done == [first, "d"])
        following.want("e")
        await until_shown(pilot, lambda: slow.done == [first, "d", "e"])
