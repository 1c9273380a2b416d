"""What a model is made of, over the window: read aside, moved through by keys, with a line to count a text in."""

from pathlib import Path

import pytest
from textual.containers import VerticalScroll
from textual.widgets import Input

from app.tui.screens.inspecting import InspectScreen
from tests.app.tui.desk import Desk
from tests.checkpoints import random_checkpoint, speaking_checkpoint
from tests.waiting import until_shown

SIZES = [(60, 18), (300, 80)]


def desk(reference: Path) -> Desk[InspectScreen]:
    return Desk(InspectScreen(reference))


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_checkpoint(tmp_path_factory.mktemp("speaking") / "speaking")


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_all_of_it_is_reached_by_keys(speaking: Path, size: tuple[int, int]) -> None:
    app = desk(speaking)
    async with app.run_test(size=size) as pilot:
        await until_shown(pilot, lambda: "23,904" in app.page)
        seen = app.page
        page = app.opened.query_one("#page", VerticalScroll)
        while page.scroll_y < page.max_scroll_y:
            before = page.scroll_y
            await pilot.press("pagedown")
            await until_shown(pilot, lambda before=before: page.scroll_y > before)
            await pilot.pause()
            seen += app.page
        for wanted in ("feed-forward", "GQA: 4 query heads", "KV cache", "<|im_end|>", "endfor"):
            assert wanted in seen, wanted


async def test_a_text_is_counted_while_it_is_typed(speaking: Path) -> None:
    app = desk(speaking)
    async with app.run_test(size=(60, 18)) as pilot:
        await until_shown(pilot, lambda: app.opened.query_one(Input).display)
        await pilot.press("tab", *"héllo")
        await until_shown(pilot, lambda: "6 tokens in 5 characters: 1.20 a character" in app.page)
        await pilot.press("tab")
        assert app.focused is app.opened.query_one("#page")
        await pilot.press("shift+tab", *["backspace"] * 5)
        await until_shown(pilot, lambda: "Esc closes" in app.page)


async def test_where_there_is_no_tokenizer_there_is_no_line(tmp_path: Path) -> None:
    app = desk(random_checkpoint(tmp_path / "mute") / "config.json")
    async with app.run_test() as pilot:
        await until_shown(pilot, lambda: "Esc closes" in app.page)
        assert not app.opened.query_one(Input).display
        await pilot.press("tab")
        assert app.focused is app.opened.query_one("#page")


async def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    app = desk(tmp_path / "nowhere" / "config.json")
    async with app.run_test() as pilot:
        await until_shown(pilot, lambda: "nowhere: config.json is missing" in app.page)


async def test_it_can_be_left_at_once_and_leaves_no_process(speaking: Path) -> None:
    app = desk(speaking)
    async with app.run_test() as pilot:
        await pilot.press("escape")
        await until_shown(pilot, lambda: app.screen is not app.opened)
    assert app.opened._reader._process is None


async def test_a_hostile_template_is_shown_and_does_nothing(tmp_path: Path) -> None:
    app = desk(speaking_checkpoint(tmp_path / "evil", "\x1b[2J\u202e[bold]{{ messages }}[/]"))
    async with app.run_test(size=(100, 60)) as pilot:
        await until_shown(pilot, lambda: "[bold]{{ messages }}[/]" in app.page)
        assert "\x1b" not in app.page and "\u202e" not in app.page
