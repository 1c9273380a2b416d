"""Screens that survive a mouse press on something that is just being replaced, and that are left once.

Textual 8.2.8 looks up the parent of the widget under the mouse and does not expect it to be gone already
(`Screen._forward_event`, AttributeError on None). The press is then let go, with whatever selection it began. And
whichever screen is dismissed, it takes away the one on top: a screen that was left already, or that another covers,
would take away that one.
"""

from collections.abc import Callable
from typing import TypeVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen

Result = TypeVar("Result")


class GuardedScreen(Screen[Result]):
    """A screen that lets such a press go, and is left only while it is on top."""

    _at_the_end: Callable[[], object] | None = None

    @property
    def would_lose(self) -> bool:
        """Whether something that a person did here is lost where the window ends now."""
        return False

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Leave, once; under another screen nothing is left."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def end(self, result: Result | None = None) -> None:
        """Leave as soon as nothing covers it: what it was there for is done."""
        self._at_the_end = lambda: self.dismiss(result)
        self._at_the_end()

    def on_screen_resume(self) -> None:
        if self._at_the_end is not None:
            self._at_the_end()

    def _forward_event(self, event: events.Event) -> None:
        try:
            super()._forward_event(event)
        except AttributeError:
            if not isinstance(event, events.MouseEvent):
                raise
            self._select_state = None


class GuardedModal(ModalScreen[Result], GuardedScreen[Result]):
    """A modal screen of that kind. Modal first: Textual takes a widget's styles from its first base."""
