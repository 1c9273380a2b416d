"""A list of one-line rows to choose from, under quiet headings, drawn as they come into sight.

It is told rows and draws only those on the screen, so that a thousand cost no more than ten. It knows no models and
no conversations; what is written in a row is data, made safe where it is drawn and never parsed as markup.
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

from app.chat.text import one_line

_MARK = "▸"
_ROOMY = 40
"""Cells from which on a list has some to spare."""
_LONGEST = 400
"""Cells of a title that is told whole when the mouse rests on its row."""


class Row(msgspec.Struct, frozen=True):
    """One row. Without a key it is a heading, which cannot be chosen."""

    key: str | None
    text: str
    sign: tuple[str, str] = ("", "")
    """A sign before the text, and its style."""
    after: tuple[tuple[str, str], ...] = ()
    """Words and signs at the row's end, safe already, with their styles."""
    marked: bool = False
    """The one in use; a sign says so."""


class Rows(ScrollView, can_focus=True):
    """Rows with a cursor that stays on its row when the rows are told anew."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "rows--row",
        "rows--heading",
        "rows--cursor",
        "rows--hover",
        "rows--quiet",
        "rows--marked",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="sidebar.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="sidebar.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="sidebar.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="sidebar.page_down"),
        Binding("home", "end(False)", "First", show=False, id="sidebar.first"),
        Binding("end", "end(True)", "Last", show=False, id="sidebar.last"),
        Binding("enter", "choose", "Open", show=False, id="sidebar.open"),
    ]
    TAIL: ClassVar[str] = "↵"
    """Stands at the end of the row under the cursor or the mouse: colour alone would not say where one is."""

    cursor: reactive[int | None] = reactive(None)
    _hover: reactive[int | None] = reactive(None)
    led: reactive[bool] = reactive(False)
    """Whether another widget, the filter, moves the cursor meanwhile."""

    class Chosen(Message):
        """A row was chosen by key or mouse."""

        def __init__(self, rows: "Rows", key: str) -> None:
            super().__init__()
            self.rows, self.key = rows, key

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()

    # --- what is on it ---

    def tell(self, rows: Sequence[Row]) -> None:
        """Replace the rows; the cursor stays on its row, or where it was when that one is gone."""
        held, place = self.under_cursor(), self.cursor
        self._rows = rows
        self._hover = None
        self.virtual_size = Size(0, len(rows))
        if place is not None:
            same = self._index(held)
            self.set_reactive(Rows.cursor, self._free(place, 1) if same is None else same)
        self.refresh()

    def under_cursor(self) -> str | None:
        """The key of the row that the cursor stands on."""
        place = self.cursor
        return self._rows[place].key if place is not None and place < len(self._rows) else None

    def point(self, key: str) -> None:
        """Put the cursor on the row with this key, or on the first."""
        place = self._index(key)
        if place is None:
            self.reset()
        else:
            self.cursor = place
            self._show_cursor()

    def reset(self) -> None:
        """Put the cursor on the first row."""
        self.scroll_to(y=0, animate=False)
        self.cursor = self._free(0, 1)

    def _index(self, key: str | None) -> int | None:
        if key is None:
            return None
        return next((index for index, row in enumerate(self._rows) if row.key == key), None)

    def _free(self, place: int, step: int) -> int | None:
        """The nearest row to `place` that can be chosen, looking first the way of `step`."""
        if not self._rows:
            return None
        place = max(0, min(place, len(self._rows) - 1))
        ahead = range(place, len(self._rows)) if step > 0 else range(place, -1, -1)
        back = range(place - 1, -1, -1) if step > 0 else range(place + 1, len(self._rows))
        return next((index for way in (ahead, back) for index in way if self._rows[index].key is not None), None)

    # --- how it is drawn ---

    def render_line(self, y: int) -> Strip:
        place, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        if place >= len(self._rows):
            return Strip.blank(width, self.get_visual_style("rows--row").rich_style)
        row = self._rows[place]
        pointed = place == self.cursor and (self.has_focus or self.led)
        if row.key is None:
            style = self.get_visual_style("rows--row", "rows--heading")
            line = Content(one_line(row.text, width))
        else:
            kind = "rows--cursor" if pointed else "rows--hover" if place == self._hover else "rows--row"
            style = self.get_visual_style("rows--row", kind)
            line = self._line(row, width, pointed, pointed or place == self._hover)
        return Visual.to_strips(self, line, width, 1, style, pad=True)[0]

    def _line(self, row: Row, width: int, pointed: bool, tail: bool) -> Content:
        # What is quiet elsewhere must not vanish on the cursor's own colour.
        quiet = Style() if pointed else self.get_visual_style("rows--quiet", partial=True)
        marked = self.get_visual_style("rows--marked", partial=True) if row.marked else Style()
        # Where there is room, its cells are kept free, so that what stands before it stays in its column.
        end = f" {self.TAIL}" if tail else "  " if self.TAIL and width >= _ROOMY else ""
        after = [*row.after, (end, "")]
        sign, colour = row.sign
        room = max(1, width - 2 - cell_len(sign) - sum(cell_len(text) for text, _ in after))
        return Content.assemble(
            (_MARK if row.marked else " ", "" if pointed else "$text-accent"),
            (sign, "" if pointed else colour),
            " ",
            (set_cell_size(one_line(row.text, room), room), marked),
            *((text, quiet if not style or pointed else style) for text, style in after),
        )

    def watch_cursor(self, old: int | None, new: int | None) -> None:
        self._show_cursor()

    def _show_cursor(self) -> None:
        """Bring the cursor's row into sight; as long as the list has no size nothing is."""
        place = self.cursor
        if place is not None and self.size.height:
            # The heading above the first row of a group comes into sight with it.
            above = 1 if place and self._rows[place - 1].key is None else 0
            self.scroll_to_region(Region(0, place - above, 1, 1 + above), animate=False, immediate=True, force=True)

    # --- keys ---

    def on_focus(self) -> None:
        if self.cursor is None:
            marked = next((index for index, row in enumerate(self._rows) if row.marked and row.key is not None), None)
            self.cursor = self._free(0, 1) if marked is None else marked

    def action_move(self, step: int) -> None:
        if self.cursor is None:
            self.reset()
            return
        ahead = range(self.cursor + step, len(self._rows)) if step > 0 else range(self.cursor + step, -1, -1)
        self.cursor = next((index for index in ahead if self._rows[index].key is not None), self.cursor)

    def action_page(self, step: int) -> None:
        page = max(1, self.scrollable_content_region.height - 1)
        self.cursor = self._free((self.cursor or 0) + step * page, step)

    def action_end(self, last: bool) -> None:
        if last:
            self.cursor = self._free(len(self._rows) - 1, -1)
        else:
            self.reset()

    def action_choose(self) -> None:
        if (key := self.under_cursor()) is not None:
            self.post_message(self.Chosen(self, key))

    # --- mouse ---

    def _under(self, event: events.MouseEvent) -> int | None:
        offset = event.get_content_offset(self)
        if offset is None:
            return None
        place = offset.y + self.scroll_offset.y
        return place if place < len(self._rows) and self._rows[place].key is not None else None

    def on_click(self, event: events.Click) -> None:
        place = self._under(event)
        if place is None:
            return
        event.stop()
        self.cursor = place
        offset = event.get_content_offset(self)
        at_end = offset is not None and offset.x >= self.scrollable_content_region.width - 2
        if event.button == 3 or at_end:
            self.clicked_aside()
        else:
            self.action_choose()

    def clicked_aside(self) -> None:
        """The row under the cursor was clicked with the other button, or at its end."""
        self.action_choose()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hover = self._under(event)

    def on_leave(self) -> None:
        self._hover = None

    def watch__hover(self, old: int | None, new: int | None) -> None:
        # A row shows what fits; the whole is told to a mouse that rests on it.
        whole = one_line(self._rows[new].text, _LONGEST) if new is not None and new < len(self._rows) else ""
        room = self.scrollable_content_region.width // 2
        self.tooltip = Content(whole) if cell_len(whole) > room else None
