"""Selected text of a transcript: the offsets it is told by, and what they stand for.

Selection is Textual's: every cell carries an offset of (character, row), where the row counts within its
message and the message's serial number stands above it, so that an offset stays true while heights elsewhere
change.
"""

from collections.abc import Iterator

from textual.geometry import Offset
from textual.selection import Selection

from app.tui.widgets.message import Rendered
from app.tui.widgets.pages import Pages
from app.tui.widgets.shown import Shown

_ROW_BITS = 24


def row_offset(message: Shown, row: int) -> int:
    """The offset's y of a row of a message."""
    return message.serial << _ROW_BITS | row


def selected_text(pages: Pages, selection: Selection) -> str:
    """What is selected, soft wraps undone, without bars and margins."""
    pieces = [piece for pair in _pieces(pages, selection) for piece in pair]
    return "".join(pieces[:-1])


def _pieces(pages: Pages, selection: Selection) -> Iterator[tuple[str, str]]:
    first = 0 if selection.start is None else selection.start.y >> _ROW_BITS
    last = pages.serial if selection.end is None else selection.end.y >> _ROW_BITS
    for message in pages.messages:
        if not first <= message.serial <= last:
            continue
        for number, row in enumerate(pages.plain(message).rows):
            span = selection.get_span(row_offset(message, number))
            if span is not None:
                begin, end = row.clip(span)
                yield row.text[begin:end], row.join


def whole_message(message: Shown, rendered: Rendered) -> Selection:
    """All of a message."""
    last = len(rendered.rows) - 1
    return Selection(Offset(0, row_offset(message, 0)), Offset(rendered.rows[last].stop, row_offset(message, last)))


def word(message: Shown, rendered: Rendered, number: int, at: int) -> Selection | None:
    """The word at the character `at` of a row; None where there is none."""
    row = rendered.rows[number]
    text = row.text
    if not row.start <= at < row.stop or text[at] == " ":
        return None
    begin = text.rfind(" ", row.start, at) + 1 or row.start
    end = text.find(" ", at, row.stop)
    offset = row_offset(message, number)
    return Selection(Offset(begin, offset), Offset(row.stop if end < 0 else end, offset))
