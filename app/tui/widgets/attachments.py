"""What goes along with the next message: one small label a file, with a cross that takes it away.

It knows neither files nor tokens: the names and details come as finished words.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec
from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from app.chat.text import one_line

_NAME = 32
"""Cells of a name at most."""
_GAP = 1


class AttachmentRow(msgspec.Struct, frozen=True):
    """One attachment as it is shown: its name, and finished words about it."""

    key: int
    name: str
    detail: str


class _Label(NamedTuple):
    """One attachment on a row of the bar, `left` cells from its beginning."""

    place: int
    text: str
    left: int

    @property
    def right(self) -> int:
        return self.left + cell_len(self.text)


class AttachmentBar(Widget, can_focus=True):
    """The attachments in as many rows as they need, up to the limit the style sets. Hidden where there are none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,up", "step(-1)", "Attachment before", show=False, id="attachments.previous"),
        Binding("right,down", "step(1)", "Next attachment", show=False, id="attachments.next"),
        Binding("delete,backspace,x", "remove", "Remove the attachment", show=False, id="attachments.remove"),
    ]
    ALLOW_SELECT = False

    class RemoveAsked(Message):
        """The person does not want this one to go along."""

        def __init__(self, key: int) -> None:
            super().__init__()
            self.key = key

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: tuple[AttachmentRow, ...] = ()
        self._current = 0
        self.display = False

    def show(self, rows: Sequence[AttachmentRow]) -> None:
        """Show `rows` instead of what is shown."""
        self._rows = tuple(rows)
        self._current = max(0, min(self._current, len(self._rows) - 1))
        if not rows and self.has_focus:
            self.screen.focus_next()
        self.display = bool(rows)
        self.refresh(layout=True)

    def action_step(self, step: int) -> None:
        self._current = max(0, min(len(self._rows) - 1, self._current + step))
        self.refresh()

    def action_remove(self) -> None:
        if self._rows:
            self.post_message(self.RemoveAsked(self._rows[self._current].key))

    def on_click(self, event: events.Click) -> None:
        line = self._seen()[event.y : event.y + 1]
        for label in line[0] if line else ():
            if label.left <= event.x < label.right:
                self._current = label.place
                self.refresh()
                if event.x >= label.right - 3:  # the cross and what is around it
                    self.action_remove()

    # --- how it looks ---

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Content:
        lines = self._seen()
        said = [self._line(line) for line in lines]
        if hidden := len(self._rows) - sum(map(len, lines)):
            said[-1] = said[-1].append(f" +{hidden} more")
        return Content("\n").join(said)

    def _line(self, line: Sequence[_Label]) -> Content:
        parts = []
        for label in line:
            here = self.has_focus and label.place == self._current
            text = f"▸{label.text[1:]}" if here else label.text
            parts.append(Content.styled(text, "reverse" if here else "$foreground on $foreground 10%"))
        return Content(" " * _GAP).join(parts)

    def _lines(self, width: int) -> list[list[_Label]]:
        """Every attachment, in rows of `width` cells."""
        lines: list[list[_Label]] = []
        left = width
        for index, row in enumerate(self._rows):
            detail = f" · {row.detail}" if row.detail else ""
            text = f" {one_line(row.name, _NAME)}{detail} × "
            if cell_len(text) > width:
                text = f" {one_line(row.name, max(4, width - 4))} × "
            if not lines or left + cell_len(text) > width:
                lines.append([])
                left = 0
            lines[-1].append(_Label(index, text, left))
            left += cell_len(text) + _GAP
        return lines

    def _seen(self) -> list[list[_Label]]:
        """The rows that there is room for, the current attachment's among them, and room to say what is hidden."""
        width, height = self.size
        lines = self._lines(width)
        if len(lines) <= height or not lines:
            return lines
        current = next(row for row, line in enumerate(lines) if any(label.place == self._current for label in line))
        first = max(0, current - height + 1)
        seen = lines[first : first + height]
        more = cell_len(f" +{len(self._rows)} more")
        while len(seen[-1]) > 1 and seen[-1][-1].right + more > width and seen[-1][-1].place != self._current:
            seen[-1] = seen[-1][:-1]
        return seen
