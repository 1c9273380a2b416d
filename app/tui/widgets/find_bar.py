"""One line to find something in the conversation: what is looked for, which of how many, the next and the one
before.

It posts what the person wants and shows what it is told; it knows nothing of the text that is searched.
"""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from app.tui.widgets.line_input import LineInput

_ROOMY = 76
"""Columns from which on there is room to say the keys."""


class _Sign(Static):
    """A sign to click."""

    def __init__(self, sign: str, action: str, says: str) -> None:
        super().__init__(Content(f" {sign} "), classes="sign")
        self._action = action
        self.tooltip = says

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action(self._action, self.parent)


class FindBar(Horizontal):
    """Hidden until `open`; Escape hides it again and posts Closed."""

    DEFAULT_CSS = """
    FindBar {
        height: 1;
        display: none;
        background: $surface;
        & .find-word { width: auto; padding: 0 1; color: $text-muted; }
        & Input { width: 1fr; min-width: 8; background: $boost; &:ansi { text-style: underline; } }
        & .find-count { width: auto; padding: 0 1; }
        & .find-keys { width: auto; color: $text-muted; }
        & .sign { width: 3; &:hover { text-style: reverse; } }
        &:ansi .find-word, &:ansi .find-keys { text-style: dim; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,ctrl+g", "step(1)", "Next match", show=False, id="find.next"),
        Binding("up,shift+enter,alt+g", "step(-1)", "Match before", show=False, id="find.previous"),
        Binding("escape", "close", "Close", show=False, id="find.close"),
    ]

    class Changed(Message):
        """`query` is looked for from now on; "" is nothing."""

        def __init__(self, query: str) -> None:
            super().__init__()
            self.query = query

    class Step(Message):
        """To the next match (1) or the one before (-1)."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Closed(Message):
        """Nothing is looked for any more."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told = ""

    def compose(self) -> ComposeResult:
        yield Static(Content("Find"), classes="find-word")
        yield LineInput(compact=True, max_length=200)
        yield Static("", classes="find-count", markup=False)
        yield _Sign("↑", "step(-1)", "The match before")
        yield _Sign("↓", "step(1)", "The next match")
        yield Static(Content("Enter next · ↑ before · Esc closes "), classes="find-keys")
        yield _Sign("✕", "close", "Close")

    def on_resize(self, event: events.Resize) -> None:
        self.query_one(".find-keys").display = event.size.width >= _ROOMY

    @property
    def is_open(self) -> bool:
        return bool(self.display)

    def open(self) -> None:
        """Come into sight with the last query selected, so that typing replaces it and Enter repeats it."""
        self.display = True
        line = self.query_one(LineInput)
        # At once, not when the screen gets to it: what is typed right behind the key belongs here.
        self.screen.set_focus(line)
        line.select_all()
        if line.value:
            self._tell(line.value)

    def show(self, place: int, count: int) -> None:
        """Say that match `place` of `count` is in sight; place counts from 1, and 0 of 0 is none."""
        said = f"{place:,} of {count:,}" if count else "nothing found"
        self.query_one(".find-count", Static).update(Content(said if self._told else ""))

    def _tell(self, query: str) -> None:
        self._told = query
        if not query:
            self.show(0, 0)
        self.post_message(self.Changed(query))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open and event.value != self._told:
            self._tell(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_step(1)

    def action_step(self, step: int) -> None:
        if self._told:
            self.post_message(self.Step(step))

    def action_close(self) -> None:
        if self.is_open:
            self.display = False
            self._told = ""
            self.post_message(self.Closed())
