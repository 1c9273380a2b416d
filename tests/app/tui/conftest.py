"""A window over a real store, with engines and a library that the test plays."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from typing import Any

import pytest
from textual import _wait
from textual.pilot import Pilot

from app.chat.store import Store
from app.settings import Paths, Settings, paths
from app.tui.app import QuietlyApp
from app.tui.widgets.composer import Composer
from tests.app.tui.window import LARGER, STARTER, FakeLibrary, FakePool
from tests.waiting import until_shown

# Textual's pilot takes the window to be done once it has hardly worked for 20 ms, at each key twice: half of what these
# tests took. Half of that says as much; what is done aside is waited for by `until` in any case.
_wait.SLEEP_GRANULARITY, _wait.SLEEP_IDLE = 0.01, 0.0005

_post_mouse_events = Pilot._post_mouse_events


async def _post_once_laid_out(pilot: Pilot[None], *arguments: Any, **options: Any) -> bool:
    """Textual's pilot looks up where a widget is, waits for the layout, and then clicks where the widget was."""
    await pilot.pause()
    return await _post_mouse_events(pilot, *arguments, **options)


@pytest.fixture(autouse=True)
def pointing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mouse meets what is on the screen."""
    monkeypatch.setattr(Pilot, "_post_mouse_events", _post_once_laid_out)


class Window:
    """The running window and what is behind it."""

    def __init__(self, app: QuietlyApp, pool: FakePool, library: FakeLibrary, pilot: Pilot[None]) -> None:
        self.app, self.pool, self.library, self.pilot = app, pool, library, pilot
        self.store = app.store

    async def until(self, true: Callable[[], object]) -> None:
        """Let the window work until something is true and can be seen."""
        await until_shown(self.pilot, true)

    async def ready(self) -> None:
        """Wait for the page and the models."""
        await self.until(lambda: self.app.shelf.models or len(self.app.screen_stack) > 1)
        await self.pilot.pause()

    async def ask(self, text: str) -> None:
        """Write `text` and send it; returns when the engine has it."""
        turns = len(self.pool.turns)
        self.composer.focus()
        self.composer.load_text(text)
        await self.pilot.press("enter")
        await self.until(lambda: len(self.pool.turns) > turns)

    async def command(self, typed: str) -> None:
        """Type a command and send it."""
        self.composer.focus()
        self.composer.load_text(f"{typed} ")  # with a space behind it, Enter sends it rather than completing it
        await self.pilot.press("enter")
        await self.pilot.pause()

    async def ended(self) -> None:
        """Wait until nothing is being written."""
        await self.until(lambda: not self.app.conductor.lives)
        await self.pilot.pause()

    @property
    def composer(self) -> Composer:
        return self.app.chat.query_one(Composer)

    @property
    def notices(self) -> str:
        return "\n".join(notice.message for notice in self.app._notifications)

    @property
    def page(self) -> str:
        """Everything on the screen, as text."""
        height = self.app.size.height
        lines = self.app.screen._compositor.render_strips(self.app.size)
        return "\n".join("".join(segment.text for segment in line) for line in lines[:height])


Opener = Callable[..., AbstractAsyncContextManager[Window]]


@pytest.fixture
def places() -> Paths:
    return paths()


@pytest.fixture
def store(places: Paths) -> Iterator[Store]:
    with Store.open(places.database) as store:
        yield store


@pytest.fixture
def opened(store: Store, places: Paths) -> Opener:
    """Open the window: `async with opened() as window`."""

    @asynccontextmanager
    async def open_window(
        library: FakeLibrary | None = None,
        pool: FakePool | None = None,
        size: tuple[int, int] = (100, 30),
        **others: object,
    ) -> AsyncIterator[Window]:
        pool, library = pool or FakePool(), library or FakeLibrary(STARTER, LARGER)
        today, settings = others.get("today", date.today), others.get("settings", Settings())
        assert callable(today) and isinstance(settings, Settings)
        mistakes = others.get("mistakes", ())
        assert isinstance(mistakes, Sequence)
        app = QuietlyApp(store, lambda: pool, library, places, today, settings, mistakes)
        async with app.run_test(size=size, notifications=bool(mistakes)) as pilot:
            window = Window(app, pool, library, pilot)
            if others.get("waits", True):
                await window.ready()
            yield window

    return open_window
