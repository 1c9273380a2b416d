"""The help: every key and what it does, read from the table of actions."""

from collections.abc import Mapping
from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from app.assets import asset
from app.tui.actions import ACTIONS, keys_shown, shown
from app.tui.screens.guarded import GuardedModal

_WRITING = (
    ("↑ ↓", "On the first and last line: what you asked before"),
    ("Option+← →", "A word back and forth; with Shift it selects"),
    ("Ctrl+A, Ctrl+E", "Start and end of the line"),
    ("Ctrl+Z, Ctrl+Y", "Undo and redo"),
    ("/", "Commands by name; Tab completes"),
    ("Ctrl+C", "Copy the selection, or stop the answer; twice quits"),
)
_READING = (
    ("J K", "To the next message and the one before"),
    ("← →", "To the other versions of a message"),
    ("Space", "Show or hide the reasoning"),
    ("Enter", "Everything that can be done with the message"),
    ("Page up, Page down", "Leaf through the conversation"),
)
_LISTS = (
    ("Tab, Shift+Tab", "From one part of the window to the next"),
    ("↑ ↓ Enter", "Choose; a click does the same"),
    ("/", "Narrow the conversations by title"),
    ("R, P, D", "Rename, pin, delete what is under the cursor"),
)
_COLUMN = 22


def _row(keys: str, says: str) -> Content:
    return Content.assemble("  ", (keys.ljust(_COLUMN), "bold $text-accent"), says)


def help_text(keymap: Mapping[str, str]) -> Content:
    """The whole help as styled text; `keymap` has the person's own keys."""
    blocks = [_block("Composer", [*_sending(keymap), *_WRITING])]
    for group, members in groupby(ACTIONS, key=lambda action: action.group):
        blocks.append(
            _block(
                group,
                [
                    (
                        ", ".join(part for part in (keys_shown(action, keymap), action.typed) if part),
                        action.label.rstrip("…"),
                    )
                    for action in members
                ],
            )
        )
    blocks.append(_block("In the messages", _READING))
    blocks.append(_block("In the lists", _LISTS))
    return Content("\n\n").join(blocks)


def _sending(keymap: Mapping[str, str]) -> list[tuple[str, str]]:
    """What sends and what begins a new line, which a person may have put on other keys."""
    send, new_line = keymap.get("composer.send", "enter"), keymap.get("composer.new_line", "ctrl+j,shift+enter")
    return [
        (", ".join(map(shown, keys.split(","))), says)
        for keys, says in ((send, "Send"), (new_line, "Begin a new line"))
    ]


def _block(title: str, rows: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> Content:
    return Content("\n").join([Content.styled(title, "bold"), *(_row(*row) for row in rows)])


class HelpScreen(GuardedModal[None]):
    """Keys and what they do; Escape or the key that opened it closes it."""

    CSS_PATH = asset("styles/help.tcss")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,f1,ctrl+underscore,ctrl+slash", "leave", "Close", show=False, id="help.close"),
    ]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        """`keymap`: by an action's id the keys it stands on instead of its own."""
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as page:
            page.border_title = "Help"
            page.border_subtitle = "Esc closes"
            yield Static(help_text(self._keymap))

    def on_mount(self) -> None:
        self.query_one("#help").focus()

    def action_leave(self) -> None:
        self.dismiss(None)
