"""A bare app with one screen open over it, for tests of screens that need no window around them."""

from typing import Any, Generic, TypeVar

from textual.app import App
from textual.screen import Screen

Opened = TypeVar("Opened", bound=Screen[Any])


class Desk(App[None], Generic[Opened]):
    """`opened` is the screen. Its breakpoints are the window's."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]
        self.opened = opened
        self.animation_level = "none"

    def on_mount(self) -> None:
        self.push_screen(self.opened)

    @property
    def page(self) -> str:
        """Everything on the screen, as text."""
        lines = self.screen._compositor.render_strips(self.size)
        return "\n".join("".join(segment.text for segment in line) for line in lines)
