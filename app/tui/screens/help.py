"""The help: every key and what it does, read from the table of actions."""

from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from app.assets import asset
from app.tui.actions import ACTIONS
from app.tui.screens.guarded import GuardedModal

_WRITING = (
    ("Enter", "Send"),
    ("Ctrl+J, Shift+Enter", "Begin a new line"),
    ("Ctrl+A, Ctrl+E", "Start and end of the line"),
    ("Ctrl+Z, Ctrl+Y", "Undo and redo"),
    ("Ctrl+C", "Copy the selection, or stop the answer; twice quits"),
)
_LISTS = (
    ("Tab, Shift+Tab", "From one part of the window to the next"),
    ("↑ ↓ Enter", "Choose; a click does the same"),
    ("R", "Rename the conversation under the cursor"),
    ("D, Delete", "Delete it, after a question"),
    ("Page up, Page down", "Leaf through the conversation"),
)
_COLUMN = 22


def _row(keys: str, says: str) -> Content:
    return Content.assemble("  ", (keys.ljust(_COLUMN), "bold $text-accent"), says)


def help_text() -> Content:
    """The whole help as styled text."""
    blocks = [_block("Writing", _WRITING)]
    for group, members in groupby(ACTIONS, key=lambda action: action.group):
        blocks.append(
            _block(
                group,
                [
                    (
                        ", ".join(part for part in (action.shown, action.typed) if part),
                        action.label.rstrip("…"),
                    )
                    for action in members
                ],
            )
        )
    blocks.append(_block("Lists", _LISTS))
    return Content("\n\n").join(blocks)


def _block(title: str, rows: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> Content:
    return Content("\n").join([Content.styled(title, "bold"), *(_row(*row) for row in rows)])


class HelpScreen(GuardedModal[None]):
    """Keys and what they do; Escape or the key that opened it closes it."""

    CSS_PATH = asset("styles/help.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1,ctrl+underscore,ctrl+slash", "leave", "Close", show=False, id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc closes"
            yield Static(help_text())

    def on_mount(self) -> None:
        self.query_one("#help").focus()

    def action_leave(self) -> None:
        self.dismiss(None)
