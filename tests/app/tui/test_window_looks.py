"""How the window looks: pictures at three sizes in a dark and a light theme, and the first screen of all."""

import time
from datetime import date
from pathlib import Path
from typing import Protocol

import pytest
from textual.pilot import Pilot

from app.chat.store import Attachment, Store
from app.settings import Paths, Settings
from app.tui.app import QuietlyApp
from app.tui.widgets.composer import Composer
from tests.app.tui.window import ANSWER, BROKEN, LARGER, STARTER, FakeLibrary, FakePool, converse


class Compare(Protocol):
    def __call__(self, app: QuietlyApp, *, terminal_size: tuple[int, int], run_before: object) -> bool: ...


async def settle(pilot: Pilot[None]) -> None:
    """Wait for the page and the models, and for the cursor to stand still."""
    app = pilot.app
    assert isinstance(app, QuietlyApp)
    while not app.chat.query("#transcript"):
        await pilot.pause()
    app.chat.query_one(Composer).cursor_blink = False
    while not app.shelf.models and app.screen is app.chat:
        await pilot.pause()
    while app.shelf.models and app.conductor.loaded(app.shelf.models[0].path) is None:
        await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()


@pytest.fixture
def filled(store: Store) -> Store:
    """A few conversations; the last one has been answered."""
    for title in ("Bread with little yeast", "散歩の計画", "Explain KV caches to a cook"):
        converse(store, title, ANSWER)
    latest = converse(store, "What is the capital of France, and what should one know about it?", ANSWER)
    attached = (Attachment("旅行メモ.md", "Paris in May\n" * 40),)
    asked = store.ask(latest, store.branch(latest)[-1].id, "Which of these days is best?", attached)
    for answer, outcome in (("Monday.", "complete"), ("Tuesday, because", "stopped")):
        begun = store.begin_answer(latest, asked.id, "starter", {})
        store.finish(begun.id, outcome, answer=answer)
    store.pin(latest, True)
    return store


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
@pytest.mark.parametrize("size", [(60, 18), (100, 30), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_conversation(
    snap_compare: Compare, filled: Store, tmp_path: Path, size: tuple[int, int], theme: str
) -> None:
    today, settings = date.fromtimestamp(time.time()), Settings(theme=theme)
    library, places = FakeLibrary(STARTER, LARGER, BROKEN), Paths.below(tmp_path)
    app = QuietlyApp(filled, FakePool, library, places, lambda: today, settings)
    assert snap_compare(app, terminal_size=size, run_before=settle)


def test_the_first_screen_of_all(snap_compare: Compare, store: Store, tmp_path: Path) -> None:
    app = QuietlyApp(store, FakePool, FakeLibrary(), Paths.below(tmp_path))
    assert snap_compare(app, terminal_size=(100, 30), run_before=settle)
