"""A page to read over the window, as long as it may be; Escape closes it."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from app.assets import asset
from app.tui.screens.guarded import GuardedModal


class PageScreen(GuardedModal[None]):
    """One widget, as tall as it is, in a frame that scrolls."""

    CSS_PATH = asset("styles/page.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "Close", show=False, id="page.close"),
    ]

    def __init__(self, title: str, body: Widget) -> None:
        super().__init__()
        self._title, self._body = title, body

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="reading") as page:
            page.border_title = self._title
            page.border_subtitle = "Esc closes"
            yield self._body

    def on_mount(self) -> None:
        self.query_one("#reading").focus()

    def action_leave(self) -> None:
        self.dismiss(None)
