"""How the window looks: pictures at three sizes in a dark and a light theme, and the first screen of all."""

import time
from datetime import date
from pathlib import Path
from typing import Protocol

import pytest
from textual.pilot import Pilot
from textual.widgets import Static, TextArea

from app.chat.store import Attachment, Store
from app.settings import Paths, Settings
from app.tui.app import QuietlyApp
from app.tui.widgets.composer import Composer
from app.tui.widgets.model_rows import ModelRows
from tests.app.tui.window import ANSWER, BROKEN, LARGER, STARTER, FakeLibrary, FakePool, a_model, converse

HUGE = a_model(
    "通义千问-72B-聊天",
    Path("/models/通义"),
    architecture="qwen2",
    runs="quietly",
    parameters=72_700_000_000,
    stored="bf16",
    bits=16.0,
    size=145_400_000_000,
    weights=145_400_000_000,
    licence="qwen",
)


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


async def in_the_library(pilot: Pilot[None]) -> None:
    """Go there, to the model that is too big, and wait until it is known how everything fits."""
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, QuietlyApp)
    app.chat.do("model.library")
    while not app.screen.query("#stock") or "Apple M4" not in str(app.screen.query_one("#machine", Static).content):
        await pilot.pause()
    rows = app.screen.query_one(ModelRows)
    await app.workers.wait_for_complete()
    while rows.under_cursor() != f"model:{HUGE.path}":  # at first the library goes to the one in use
        rows.point(f"model:{HUGE.path}")
        await pilot.pause()
    await pilot.pause()


@pytest.mark.parametrize(
    ("size", "theme"), [((60, 18), "textual-dark"), ((120, 36), "textual-light")], ids=["60x18", "120x36"]
)
def test_the_library(snap_compare: Compare, store: Store, tmp_path: Path, size: tuple[int, int], theme: str) -> None:
    library = FakeLibrary(STARTER, LARGER, HUGE, BROKEN)
    library.downloads.set("someone/Poet-4bit", state="running", done=40 << 20, total=100 << 20, rate=2 << 20, left=30.0)
    library.downloads.set("someone/Half-4bit", state="paused", done=43, total=100)
    app = QuietlyApp(store, FakePool, library, Paths.below(tmp_path), settings=Settings(theme=theme))
    assert snap_compare(app, terminal_size=size, run_before=in_the_library)


async def with_help(pilot: Pilot[None]) -> None:
    await settle(pilot)
    await pilot.press("f1")
    await pilot.pause()


async def in_a_tuning(pilot: Pilot[None]) -> None:
    await settle(pilot)
    app = pilot.app
    assert isinstance(app, QuietlyApp)
    app.chat.do("conversation.tune")
    while not app.screen.query(TextArea) or app.screen is app.chat:
        await pilot.pause()
    app.screen.query_one(TextArea).cursor_blink = False
    await pilot.pause()


@pytest.mark.parametrize(
    ("run_before", "size", "theme"),
    [(with_help, (60, 18), "textual-dark"), (in_a_tuning, (80, 24), "textual-light")],
    ids=["help", "tuning"],
)
def test_a_screen_with_little_room(
    snap_compare: Compare, store: Store, tmp_path: Path, run_before: object, size: tuple[int, int], theme: str
) -> None:
    app = QuietlyApp(store, FakePool, FakeLibrary(STARTER), Paths.below(tmp_path), settings=Settings(theme=theme))
    assert snap_compare(app, terminal_size=size, run_before=run_before)


def test_the_first_screen_of_all(snap_compare: Compare, store: Store, tmp_path: Path) -> None:
    app = QuietlyApp(store, FakePool, FakeLibrary(), Paths.below(tmp_path))
    assert snap_compare(app, terminal_size=(100, 30), run_before=settle)
