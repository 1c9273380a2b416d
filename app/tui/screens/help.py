"""The help: every key and what it does, read from the table of actions."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from textwrap import wrap
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from app.tui.actions import ACTIONS, keys_shown, shown
from app.tui.screens.page import PageScreen

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
_GAP = 2
_NARROWEST = 12
"""Cells for what keys do, however few there are."""


def help_text(keymap: Mapping[str, str], width: int) -> Content:
    """The whole help as styled text in `width` cells; `keymap` has the person's own keys."""
    blocks = [_block("Composer", [*_sending(keymap), *_WRITING], width)]
    for group, members in groupby(ACTIONS, key=lambda action: action.group):
        rows = [
            (", ".join(filter(None, (keys_shown(action, keymap), action.typed))), action.label.rstrip("…"))
            for action in members
        ]
        blocks.append(_block(group, rows, width))
    blocks.append(_block("In the messages", _READING, width))
    blocks.append(_block("In the lists", _LISTS, width))
    return Content("\n\n").join(blocks)


def _sending(keymap: Mapping[str, str]) -> list[tuple[str, str]]:
    """What sends and what begins a new line, which a person may have put on other keys."""
    send, new_line = keymap.get("composer.send", "enter"), keymap.get("composer.new_line", "ctrl+j,shift+enter")
    return [
        (", ".join(map(shown, keys.split(","))), says)
        for keys, says in ((send, "Send"), (new_line, "Begin a new line"))
    ]


def _block(title: str, rows: Sequence[tuple[str, str]], width: int) -> Content:
    return Content("\n").join([Content.styled(title, "bold"), *(line for row in rows for line in _row(*row, width))])


def _row(keys: str, says: str, width: int) -> Iterator[Content]:
    """The keys and what they do, each in its own column, in as many lines as the longer takes."""
    columns = wrap(keys, _COLUMN - _GAP), wrap(says, max(width - _GAP - _COLUMN, _NARROWEST))
    for left, right in zip_longest(*columns, fillvalue=""):
        yield Content.assemble(" " * _GAP, (left.ljust(_COLUMN), "bold $text-accent"), right)


class _Keys(Widget):
    """The help, laid out for whatever width there is."""

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(help_text(self._keymap, width).plain.split("\n"))

    def render(self) -> Content:
        return help_text(self._keymap, self.content_size.width)


class HelpScreen(PageScreen):
    """Keys and what they do; Escape or the key that opened it closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,ctrl+underscore,ctrl+slash", "leave", "Close", show=False, id="help.close"),
    ]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        """`keymap`: by an action's id the keys it stands on instead of its own."""
        super().__init__("Help", _Keys(keymap))
