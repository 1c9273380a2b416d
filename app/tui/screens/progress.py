"""How far something has come that takes a while; Escape ends it. Knows nothing of what is being done."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import ProgressBar, Static

from app.assets import asset
from app.errors import QuietlyError
from app.tui.following import aside
from app.tui.screens.guarded import GuardedModal

Done = TypeVar("Done")
Report = Callable[[int, int], None]
"""Called with how many are done, of how many; 0 of 0 where that is not known yet."""

_PAINTS = 10
"""Times a second."""


class GivenUp(Exception):
    """The person does not want it any more."""


class ProgressScreen(GuardedModal[Done | QuietlyError | None], Generic[Done]):
    """Does something on another thread while it shows how far it has come.

    It is dismissed with the result, with the error where there was one, or with None where the person gave it up.
    """

    CSS_PATH = asset("styles/asking.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", "Give up", show=False, id="progress.give_up"),
    ]

    def __init__(self, what: str, do: Callable[[Report], Done], *, can_end: bool = True) -> None:
        """`do` calls what it is given, and lets through what that raises; unless it `can_end`, Escape does nothing."""
        super().__init__()
        self._what, self._do, self._can_end = what, do, can_end
        self._so_far = (0, 0)
        self._given_up = False

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(Content(self._what), id="text")
            yield ProgressBar(show_eta=False, id="bar")
            if self._can_end:
                yield Static(Content("Esc ends it; what is finished stays"), id="detail")

    def on_mount(self) -> None:
        self.set_interval(1 / _PAINTS, self._paint)
        aside(self.app, self._run)

    def on_unmount(self) -> None:
        self._given_up = True  # the window may be closing

    def _paint(self) -> None:
        done, total = self._so_far
        self.query_one(ProgressBar).update(total=total or None, progress=done)
        if total:
            self.query_one("#text", Static).update(Content(f"{self._what} {done:,} of {total:,}"))

    async def _run(self) -> None:
        def report(done: int, total: int) -> None:
            self._so_far = (done, total)
            if self._given_up:
                raise GivenUp

        result: Done | QuietlyError | None = None
        try:
            with contextlib.suppress(GivenUp):
                result = await asyncio.to_thread(self._do, report)
        except QuietlyError as error:
            result = error
        finally:
            self.end(result)

    def action_give_up(self) -> None:
        if self._can_end:
            self._given_up = True
            self.query_one("#detail", Static).update(Content("Ending…"))
