"""Screens that are left once, and only by themselves: nothing takes away the one that covers them."""

import asyncio
import threading

from textual.events import Key
from textual.widgets import OptionList

from app.tui.palette import Palette
from app.tui.screens.asking import Confirm
from app.tui.screens.begin import BeginScreen
from app.tui.screens.connections import ConnectionsScreen
from app.tui.screens.menu import Menu, MenuRow
from app.tui.screens.progress import ProgressScreen, Report
from app.tui.widgets.options import Options
from tests.app.tui.conftest import Opener
from tests.app.tui.window import LARGER, FakeLibrary


async def test_what_is_taken_late_or_twice_takes_no_other_screen_away(opened: Opener) -> None:
    async with opened() as window:
        taken: list[str | None] = []
        menu = Menu("A menu", [MenuRow("one", "One"), MenuRow("two", "Two")])
        window.app.push_screen(menu, taken.append)
        await window.until(lambda: menu.query(OptionList) and menu.query_one(OptionList).option_count == 2)
        await window.pilot.press("ctrl+p")
        await window.until(lambda: isinstance(window.app.screen, Palette))
        menu.query_one(OptionList).action_select()
        await window.pilot.pause()
        assert isinstance(window.app.screen, Palette) and taken == []
        await window.pilot.press("escape")
        await window.until(lambda: window.app.screen is menu)
        window.app.push_screen(Confirm("Sure?", "Yes"))
        window.app.pop_screen()
        menu.query_one(OptionList).action_select()
        menu.query_one(OptionList).action_select()
        await window.until(lambda: taken)
        await window.pilot.pause()
        assert taken == ["one"] and window.app.screen is window.app.chat


async def test_what_is_done_while_another_screen_covers_it_ends_behind_it(opened: Opener) -> None:
    goes_on, results = threading.Event(), []

    def do(report: Report) -> str:
        goes_on.wait(10)
        return "done"

    async with opened() as window:
        progress = ProgressScreen("Exporting", do)
        window.app.push_screen(progress, results.append)
        await window.until(lambda: "Exporting" in window.page)
        await window.pilot.press("ctrl+right_square_bracket")
        await window.until(lambda: isinstance(window.app.screen, ConnectionsScreen))
        goes_on.set()
        await window.until(lambda: progress._at_the_end is not None)
        assert isinstance(window.app.screen, ConnectionsScreen) and results == []
        await window.pilot.press("ctrl+right_square_bracket")
        await window.until(lambda: results == ["done"])
        await window.until(lambda: len(window.app.screen_stack) == 1)


async def test_a_model_that_came_while_the_connections_were_looked_at_is_used(opened: Opener) -> None:
    library = FakeLibrary()
    library.downloading = asyncio.Event()
    async with opened(library) as window:
        await window.until(lambda: isinstance(window.app.screen, BeginScreen) and "Apple M4" in window.page)
        await window.pilot.click("#download")
        await window.pilot.press("y")
        await window.until(lambda: "954 MiB of 4.0 GiB" in window.page)
        await window.pilot.press("f2")
        await window.until(lambda: isinstance(window.app.screen, ConnectionsScreen))
        library.downloading.set()
        await window.until(lambda: LARGER in library.found)
        await window.pilot.pause()
        assert isinstance(window.app.screen, ConnectionsScreen)
        await window.pilot.press("escape")
        await window.until(lambda: window.app.shelf.chosen == LARGER)
        assert window.app.screen is window.app.chat


async def test_a_key_that_is_pressed_twice_opens_one_screen(opened: Opener) -> None:
    async with opened() as window:
        for text, key in (("/import ", "enter"), ("", "ctrl+p"), ("", "f2")):
            window.composer.load_text(text)
            for _ in range(3 if key != "f2" else 1):
                window.app.post_message(Key(key, None))
            await window.until(lambda: len(window.app.screen_stack) > 1)
            await window.pilot.pause()
            assert len(window.app.screen_stack) == 2
            await window.pilot.press("escape")
            await window.until(lambda: window.app.screen is window.app.chat)


async def test_a_list_that_is_not_laid_out_yet_can_be_paged_through(opened: Opener) -> None:
    async with opened() as window:
        for key in ("page_down", "page_up"):
            options = Options()
            window.app.chat.mount(options)
            options.add_options(["one", "two"])
            options.highlighted = 0
            await options.run_action(key)
            assert options.highlighted == 0
            options.remove()
