"""The palette under quick fingers: what is pressed is done in the list of what is typed, and done once."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from textual.app import App
from textual.command import CommandList, DiscoveryHit, Hit, Hits, Provider
from textual.events import Key
from textual.pilot import Pilot

from app.tui.palette import Choice, Palette, choose
from app.tui.screens.asking import Confirm
from app.tui.screens.settings import SettingsScreen
from tests.app.tui.conftest import Opener
from tests.app.tui.desk import Desk
from tests.waiting import until, until_shown

ROWS = ("Quit", "Tea", "Tea with milk", "Team")


def post(app: App[None], keys: str) -> None:
    """Press keys faster than any of them is acted on: letters, and names of keys behind a space."""
    letters, *named = keys.split(" ")
    for key in (*letters, *named):
        app.post_message(Key(key, key if len(key) == 1 else None))


class Slow:
    """A list of ROWS that is looked through only when the test says so; a row that is acted on is in `done`."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.done: list[str] = []
        slow = self

        class Rows(Provider):
            async def discover(self) -> Hits:
                for row in ROWS:
                    yield DiscoveryHit(row, slow.act(row))

            async def search(self, query: str) -> Hits:
                await slow.goes_on.wait()
                for row in ROWS:
                    if query in row.lower():
                        yield Hit(1, row, slow.act(row))

        self.palette = Palette(providers=[Rows])
        self.app = Desk(self.palette)

    def act(self, row: str) -> Callable[[], None]:
        return lambda: self.done.append(row)

    @property
    def rows(self) -> list[str]:
        return [str(option.prompt) for option in self.palette.query_one(CommandList).options]

    async def ready(self, pilot: Pilot[None]) -> None:
        await until_shown(pilot, lambda: self.palette.is_mounted and self.rows == list(ROWS))


@pytest.mark.parametrize(
    ("keys", "done"),
    [
        ("tea enter", ["Tea"]),
        ("team enter", ["Team"]),
        ("tea down enter", ["Tea with milk"]),
        ("tea enter enter enter", ["Tea"]),
        ("zzz enter", []),
        ("tea enter m", []),
    ],
)
async def test_what_is_pressed_waits_for_the_list_of_what_is_typed(keys: str, done: list[str]) -> None:
    slow = Slow()
    async with slow.app.run_test() as pilot:
        await slow.ready(pilot)
        post(slow.app, keys)
        await pilot.pause()
        assert slow.done == [] and slow.app.screen is slow.palette
        slow.goes_on.set()
        await until(lambda: slow.done if done else slow.rows != list(ROWS))
        await pilot.pause()
        assert slow.done == done and (slow.app.screen is slow.palette) is not bool(done)


async def test_letter_after_letter_leaves_no_earlier_list_to_act_on() -> None:
    slow = Slow()
    async with slow.app.run_test() as pilot:
        await slow.ready(pilot)
        await pilot.press(*"tea", "down", "enter")
        assert slow.done == [] and slow.rows == list(ROWS), "the list of an earlier text still stands"
        await pilot.press("m", "backspace")  # takes back what was pressed
        await pilot.press("down", "down", "enter")
        slow.goes_on.set()
        await until(lambda: slow.done == ["Team"])


async def test_the_untouched_list_is_acted_on_as_it_stands_and_a_row_is_clicked_once() -> None:
    slow = Slow()
    async with slow.app.run_test() as pilot:
        post(slow.app, " down enter")  # before there is a line or a list
        await until(lambda: slow.done == ["Tea"])
    slow = Slow()
    async with slow.app.run_test() as pilot:
        await slow.ready(pilot)
        commands = slow.palette.query_one(CommandList)
        commands.highlighted = 2
        commands.action_select()
        commands.action_select()
        await until(lambda: slow.done)
        await pilot.pause()
        assert slow.done == ["Tea with milk"]


async def test_names_are_letters_while_they_are_searched_too() -> None:
    done: list[str] = []
    names = ["[bold]plain[/bold]", "[/] not even markup"]
    app = Desk(Palette(providers=[]))
    async with app.run_test() as pilot:
        await until(lambda: app.screen is app.opened)
        app.opened.dismiss()
        choose(app, "Which…", [Choice(name, "", partial(done.append, name)) for name in names])
        await until(lambda: isinstance(app.screen, Palette) and app.screen.focused)
        post(app, "bold")
        await until_shown(pilot, lambda: "not even" not in app.page and names[0] in app.page)
        await pilot.press("ctrl+u")
        post(app, "even enter")
        await until(lambda: done == [names[1]])


async def test_what_changed_in_a_form_is_lost_by_no_way_of_quitting(opened: Opener) -> None:
    async with opened() as window:
        app, press = window.app, window.pilot.press

        async def in_the_palette(keys: str) -> None:
            await press("ctrl+p")
            await window.until(lambda: isinstance(app.screen, Palette) and app.focused)
            post(app, keys)

        async def back() -> None:
            await press("escape")
            await window.until(lambda: isinstance(app.screen, SettingsScreen) and app.screen.would_lose)

        await in_the_palette("settings enter")  # rather than the settings of a model
        await window.until(lambda: isinstance(app.screen, SettingsScreen))
        await press("space", "ctrl+q")
        await window.until(lambda: isinstance(app.screen, Confirm))
        await back()
        await in_the_palette("zz enter")
        await window.until(lambda: isinstance(app.screen, Palette) and "Quit" not in window.page)
        await back()
        await in_the_palette("quit enter")
        await window.until(lambda: isinstance(app.screen, Confirm))
        await back()
        post(app, " ctrl+c ctrl+c")
        await window.until(lambda: "Quit without saving?" in window.page)
        await press("y")
        await window.until(lambda: app._exit)
