"""Demonstration models at the window: what is said of them, and when one answers."""

from pathlib import Path

from app.tui.screens.begin import BeginScreen
from app.tui.screens.models import ModelsScreen
from app.tui.widgets.model_rows import ModelRows
from tests.app.tui.conftest import Opener
from tests.app.tui.window import DEMONSTRATION, STARTER, FakeLibrary, a_model

OTHER = a_model("demo-rwkv7", Path("/quietly/demo-rwkv7"), "demonstration", size=3_000_000)
NAMES = "demo-llama, demo-rwkv7"


async def test_where_there_is_nothing_else_one_answers_and_the_page_says_what_it_is(opened: Opener) -> None:
    library = FakeLibrary(DEMONSTRATION, OTHER)
    library.starter = None
    async with opened(library, size=(100, 50)) as window:
        await window.until(lambda: isinstance(window.app.screen, BeginScreen) and NAMES in window.page)
        assert "Welcome to Quietly" in window.page and "Qwen2.5 7B Instruct, the best that fits" in window.page
        assert window.app.screen.focused is window.app.screen.query_one("#download")
        await window.pilot.press("escape")
        await window.until(lambda: window.app.screen is window.app.chat)
        assert "demo-llama, a demonstration, answers here" in window.page and "the starter" in window.page
        await window.ask("Hello")
        assert window.pool.turns[-1].checkpoint == DEMONSTRATION.path
        window.pool.turns[-1].finish()
        await window.ended()


async def test_one_is_tried_from_the_first_page_and_stays_chosen(opened: Opener) -> None:
    async with opened(FakeLibrary(DEMONSTRATION, OTHER), size=(100, 50)) as window:
        await window.until(lambda: isinstance(window.app.screen, BeginScreen) and NAMES in window.page)
        await window.pilot.click("#try")
        await window.until(lambda: DEMONSTRATION.path in window.pool.known)
        assert window.app.shelf.chosen == DEMONSTRATION and not window.app.shelf.only_demonstrated


async def test_beside_the_starter_it_is_not_said_that_one_has_to_be_brought(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, DEMONSTRATION)) as window:
        await window.command("/model demo-llama")
        await window.until(lambda: "demo-llama, a demonstration, answers here" in window.page)
        assert "Ctrl+O leads to others" in window.page and "/add brings" not in window.page


async def test_beside_another_model_they_stand_last_under_their_name_and_are_not_deleted(opened: Opener) -> None:
    async with opened(FakeLibrary(STARTER, DEMONSTRATION, OTHER), size=(120, 40)) as window:
        await window.until(lambda: "starter answers here" in window.page)
        sidebar = " ".join(line[:30] for line in window.page.splitlines())
        last = ("starter", "Demonstration", "demo-llama", "demo-rwkv7", "add a model")
        assert sorted(last, key=sidebar.index) == [*last]

        await window.command("/models")
        await window.until(lambda: isinstance(window.app.screen, ModelsScreen) and "Apple M4" in window.page)
        assert "Demonstrations, with Quietly" in window.page
        window.app.screen.query_one(ModelRows).point(f"model:{DEMONSTRATION.path}")
        await window.until(lambda: "Quietly, a demonstration" in window.page)
        await window.pilot.press("d")
        await window.until(lambda: "demo-llama: a demonstration goes with Quietly alone." in window.notices)
        assert window.library.removed == [] and isinstance(window.app.screen, ModelsScreen)
