"""The ways to a first model."""

import asyncio
from pathlib import Path

import pytest
from textual.widgets import Input

from app.chat.store import Store
from app.library.licences import terms
from app.tui.screens.asking import Confirm
from app.tui.screens.begin import BeginScreen
from tests.app.tui.conftest import Opener, Window
from tests.app.tui.window import LARGER, STARTER, FakeLibrary


async def shown(window: Window) -> None:
    await window.until(lambda: isinstance(window.app.screen, BeginScreen) and "Apple M4" in window.page)


async def test_without_a_model_the_machine_and_three_ways_are_shown(opened: Opener) -> None:
    async with opened(FakeLibrary()) as window:
        await shown(window)
        for text in ("16.0 GiB of memory", "Metal", "Qwen2.5 7B Instruct", "4.0 GiB to download", "Apache-2.0"):
            assert text in window.page
        assert "It is here already." in window.page


async def test_the_starter_is_chosen_and_loaded(opened: Opener) -> None:
    async with opened(FakeLibrary()) as window:
        await shown(window)
        await window.pilot.press("enter")
        await window.until(lambda: window.app.shelf.chosen == STARTER and STARTER.path in window.pool.known)
        assert window.app.screen is window.app.chat


async def test_a_download_is_asked_shown_and_can_be_cancelled(opened: Opener) -> None:
    library = FakeLibrary()
    library.downloading = asyncio.Event()
    async with opened(library) as window:
        await shown(window)
        await window.pilot.click("#download")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        assert "mlx-community/Qwen2.5-7B-Instruct-4bit" in window.page
        await window.pilot.press("y")
        await window.until(lambda: "954 MiB of 4.0 GiB" in window.page)
        await window.pilot.press("escape")
        await window.until(lambda: library.cancelled and "Cancelled" in window.page)
        library.downloading.set()
        await window.until(lambda: not window.app.screen.query_one("#progress").display)
        await window.pilot.click("#download")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.pilot.press("y")
        await window.until(lambda: window.app.shelf.chosen == LARGER)


@pytest.mark.parametrize("agreed", [True, False])
async def test_a_licence_that_restricts_is_asked_about_before_anything_comes(opened: Opener, agreed: bool) -> None:
    library = FakeLibrary()
    library.terms = terms("gemma")
    async with opened(library) as window:
        await shown(window)
        await window.pilot.click("#download")
        await window.until(lambda: isinstance(window.app.screen, Confirm))
        await window.pilot.press("y")
        await window.until(lambda: "Agree to the licence of Qwen2.5 7B Instruct?" in window.page)
        assert "gemma. Its maker sets conditions" in window.page
        await window.pilot.press("y" if agreed else "escape")
        if agreed:
            await window.until(lambda: window.app.shelf.chosen == LARGER)
        else:
            await window.until(lambda: "was not agreed to" in window.page)
            assert LARGER not in library.found


async def test_a_folder_that_holds_no_model_is_refused_in_place_and_another_is_taken(
    opened: Opener, store: Store, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    good.mkdir()
    async with opened(FakeLibrary()) as window:
        await shown(window)
        await window.pilot.click("#folder")
        await window.pilot.press(*"/nowhere", "enter")
        await window.until(lambda: "is not a folder with a model" in window.page)
        window.app.screen.query_one(Input).value = str(good)
        await window.pilot.press("enter")
        await window.until(lambda: window.app.shelf.chosen and window.app.shelf.chosen.path == good)
    async with opened(FakeLibrary(), size=(60, 18)) as window:
        assert window.app.shelf.chosen and window.app.shelf.chosen.path == good


async def test_a_question_asked_without_a_model_is_not_lost(opened: Opener) -> None:
    async with opened(FakeLibrary()) as window:
        await shown(window)
        await window.pilot.press("escape")
        window.composer.load_text("Are you there?")
        await window.pilot.press("enter")
        await shown(window)
        assert window.composer.text == "Are you there?"


async def test_the_arrows_choose_also_where_not_everything_is_in_sight(opened: Opener) -> None:
    async with opened(FakeLibrary(), size=(60, 18)) as window:
        screen = window.app.screen
        await window.until(lambda: screen.focused is not None)
        assert screen.query_one("#begin").max_scroll_y > 0
        focused = []
        for key in ("down", "down", "up", "up"):
            await window.pilot.press(key)
            focused.append(screen.focused and screen.focused.id)
        assert focused == ["folder", "download", "folder", "bring"]
