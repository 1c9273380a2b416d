"""Screens that survive a mouse press on something that is just being replaced.

Textual 8.2.8 looks up the parent of the widget under the mouse and does not expect it to be gone already
(`Screen._forward_event`, AttributeError on None). The press is then let go, with whatever selection it began.
"""

from typing import TypeVar

from textual import events
from textual.screen import ModalScreen, Screen

Result = TypeVar("Result")


class GuardedScreen(Screen[Result]):
    """A screen that lets such a press go."""

    def _forward_event(self, event: events.Event) -> None:
        try:
            super()._forward_event(event)
        except AttributeError:
            if not isinstance(event, events.MouseEvent):
                raise
            self._select_state = None


class GuardedModal(ModalScreen[Result], GuardedScreen[Result]):
    """A modal screen that lets such a press go. Modal first: Textual takes a widget's styles from its first base."""
