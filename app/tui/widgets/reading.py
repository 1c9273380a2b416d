"""The page that a conversation is read on: one widget that shows a list of messages of any length.

It is virtual: only messages around the window are rendered. A height is an estimate until its message was
first rendered, then exact; whatever becomes exact above the window moves the scroll position along, so that
what a person reads stays where it is. Idle moments make the other heights exact.

It scrolls and paints; what else a message is good for (choosing, finding, clicking) it does not know.
"""

from collections import OrderedDict
from time import monotonic, perf_counter

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollDown, ScrollTo, ScrollUp
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from app.tui.markdown.rows import Row, restyled
from app.tui.widgets.look import PARTS
from app.tui.widgets.pages import Pages
from app.tui.widgets.selecting import row_offset
from app.tui.widgets.shown import Shown

KEPT_STRIPS = 600
SHARE = 0.12
"""Of a core: what repainting live answers may take; one that took t is followed by a pause of t / SHARE."""
IDLE_EVERY = 0.1
IDLE_BUDGET = 0.006
"""Seconds: every so often, for so long, heights out of sight are made exact."""
IDLE_LARGEST = 50_000
"""Characters; a longer message keeps its estimate until it comes into sight."""
BELOW = " ↓ more below · End "


class Reading(ScrollView, inherit_bindings=False):
    """Messages in rows, of which it shows those in sight, and the end of them while that is followed."""

    ALLOW_SELECT = True

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._pages = Pages()
        self._palette_stale = True
        self._ground = Style.null()
        """The style of what is empty, as the theme has it: Textual works it out anew each time it is asked."""
        self._strips: OrderedDict[int, tuple[Row, Strip]] = OrderedDict()
        self._following = True
        self._news = False
        self._settling = False
        # While the window is being resized: the message that was at its top, and how much of it stood above.
        self._held: tuple[Shown, int] | None = None
        self._pending: set[int] = set()
        self._repaint: Timer | None = None
        self._repaint_after = 0.0
        self._idle: Timer | None = None
        self._busy_until = 0.0

    @property
    def following(self) -> bool:
        """Whether the end is kept in sight as text arrives."""
        return self._following

    def follow(self) -> None:
        """Go to the end and stay there as text arrives."""
        self._following = True
        self._news = False
        self._settle()

    # Where the window stands. A place is (message, row within it).

    def _top(self) -> tuple[int, int]:
        """The place at the window's top; there must be a message."""
        return self._pages.heights.locate(round(self.scroll_y))

    def _in_sight(self) -> range:
        """The messages in sight."""
        if not self._pages.messages or not self._pages.width:
            return range(0)
        last = self._pages.heights.locate(round(self.scroll_y) + max(self.size.height, 1) - 1)[0]
        return range(self._top()[0], last + 1)

    def _place(self) -> tuple[int, int] | None:
        """What must stay at the window's top; None where the end is followed or all is empty."""
        return None if self._following or not self._pages.messages else self._top()

    def _settle(self, place: tuple[int, int] | None = None) -> None:
        """Make the heights around the window exact and put `place`, or what was there, at its top again."""
        pages = self._pages
        if not pages.width:
            return
        pages.palette = self._colours()
        height = self.size.height
        place = place or self._place()
        if place is None:
            index, room = len(pages), 2 * height
            while index and room > 0:
                index -= 1
                room -= pages.measure(index)
            top = pages.heights.total - height
        else:
            index, row = place
            before = pages.heights[index]
            after = pages.measure(index)
            if after != before and row:
                row = min(row * after // max(before, 1), after - 1)
            row = min(row, max(after - 1, 0))
            below, room = index + 1, 2 * height - (after - row)
            while below < len(pages) and room > 0:
                room -= pages.measure(below)
                below += 1
            above, room = index, height - row
            while above and room > 0:
                above -= 1
                room -= pages.measure(above)
            top = pages.heights.start(index) + row
        self._move(max(min(top, pages.heights.total - height), 0))
        pages.trim()
        if self._idle is not None and pages.sweep:
            self._idle.resume()

    def _move(self, top: int) -> None:
        size = Size(self.size.width, self._pages.heights.total)
        self._settling = True
        try:
            if size != self.virtual_size:
                # Not the reactive way: that lays the whole screen out again, for a scroll bar.
                self.set_reactive(Widget.virtual_size, size)
                self._scroll_update(size)
            self.scroll_y = self.scroll_target_y = top
        finally:
            self._settling = False
        if self._following:
            self._news = False
        self.refresh()

    def _reveal(self, index: int, first: int, last: int, above: int = 0) -> None:
        """Bring rows of a message into sight, scrolling just enough; where it must scroll up, `above` rows more.

        Of more rows than the window has, the first ones are shown.
        """
        pages = self._pages
        if not pages.width:
            return
        pages.measure(index)
        height = self.size.height
        top, begin = round(self.scroll_y), pages.heights.start(index) + first
        end = begin + last - first
        if top <= begin and end < top + height - self._news:
            return
        self._following = False
        # Twice: what stands above the place is made exact by going there.
        self._settle((index, first))
        begin = pages.heights.start(index) + first
        upward = begin < top or last - first >= height
        wanted = begin - above if upward or above else begin + last - first + 1 - height
        self._settle(pages.heights.locate(max(wanted, 0)))
        self._following = round(self.scroll_y) >= self.max_scroll_y

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._settling and self._pages.width:
            self._held = None
            self._busy_until = monotonic() + 0.2
            self._following = round(new_value) >= self.max_scroll_y
            self._settle()

    def on_mount(self) -> None:
        self._idle = self.set_interval(IDLE_EVERY, self._measure_idly, pause=not self._pages.sweep)

    def on_resize(self) -> None:
        pages, width = self._pages, self.size.width
        if width == pages.width or width <= 0:
            self._settle()
            return
        pages.palette = self._colours()
        place = self._place()
        if place is None:
            self._held = None
        elif self._held is None or pages.get(self._held[0].entry.key) is not self._held[0]:
            self._held = pages.messages[place[0]], self._letters_above(place)
        pages.width = width
        self._clear_selection()
        pages.forget_rows()
        self._strips.clear()
        pages.estimate()
        if self._held is not None:
            index = pages.index(self._held[0])
            place = index, self._row_after(index, self._held[1])
        self._settle(place)

    def _letters_above(self, place: tuple[int, int]) -> int:
        """How much of its message, white space aside, stands above `place`: no width changes that."""
        rows = self._pages.rows(self._pages.messages[place[0]]).rows[: place[1]]
        return sum(len("".join(row.content.split())) for row in rows)

    def _row_after(self, index: int, letters: int) -> int:
        self._pages.measure(index)
        for number, row in enumerate(self._pages.rows(self._pages.messages[index]).rows):
            letters -= len("".join(row.content.split()))
            if letters < 0:
                return number
        return 0

    def _measure_idly(self) -> None:
        """Make some heights out of sight exact, the latest first, without moving what is in sight."""
        pages = self._pages
        if monotonic() < self._busy_until or not pages.width:
            return
        pages.palette = self._colours()
        place = self._place()
        began = perf_counter()
        while pages.sweep and perf_counter() - began < IDLE_BUDGET:
            pages.sweep -= 1
            message = pages.messages[pages.sweep]
            if not (message.exact or message.streaming) and len(message.entry.text) < IDLE_LARGEST:
                pages.measured(pages.sweep, pages.plain(message))
        if not pages.sweep and self._idle is not None:
            self._idle.pause()
        self._settle(place)

    def _paint_live(self, place: tuple[int, int] | None = None) -> None:
        """Render the answers that have grown and show what is in sight of them."""
        if self._repaint is not None:
            self._repaint.stop()
            self._repaint = None
        pages = self._pages
        if not pages.width:
            return
        began = perf_counter()
        pages.palette = self._colours()
        place = place or self._place()
        for key in self._pending:
            message = pages.get(key)
            if message is not None:
                message.rendered = message.render(pages.width, pages.palette)
                pages.measured(pages.index(message), message.rendered)
                pages.keep(message)
                self._news |= not self._following
        self._pending.clear()
        self._settle(place)
        self._repaint_after = monotonic() + (perf_counter() - began) / SHARE

    # Looks.

    def _colours(self) -> dict[str, Style]:
        """The palette in force; where the theme changed it, what was rendered with the old one is dropped."""
        if self._palette_stale:
            self._palette_stale = False
            self._ground = self.rich_style
            palette = {part: self.get_component_rich_style(f"transcript--{part}") for part in PARTS}
            if palette != self._pages.palette:
                self._pages.palette = palette
                self._strips.clear()
                self._pages.forget_rows()
        return self._pages.palette

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette_stale = True

    def _dressed(self, message: Shown, number: int, row: Row) -> Row:
        """A row as it is drawn now, which may differ from how it was rendered; the same object where not."""
        return row

    def render_line(self, y: int) -> Strip:
        self._colours()
        width, height = self.size
        if self._news and y == height - 1:
            return self._below(width)
        found = self._row_at(y)
        if found is None:
            return Strip.blank(width, self._ground)
        message, number, plain = found
        row = self._dressed(message, number, plain)
        offset = row_offset(message, number)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(offset)) is not None:
            row = restyled(row, *row.clip(span), self._selection_style())
        if row is not plain:
            return self._strip(row, width).apply_offsets(0, offset)
        known = self._strips.get(id(row))
        strip = known[1] if known else self._strip(row, width)
        self._strips[id(row)] = row, strip
        self._strips.move_to_end(id(row))
        if len(self._strips) > KEPT_STRIPS:
            self._strips.popitem(last=False)
        return strip.apply_offsets(0, offset)

    def _row_at(self, y: int) -> tuple[Shown, int, Row] | None:
        """(message, row within it, the row) on a line of the window."""
        line = round(self.scroll_y) + y
        pages = self._pages
        # Painted before it was told its width, it would show everything in a narrow column for a moment.
        if not pages.messages or not pages.width or line >= pages.heights.total:
            return None
        index, number = pages.heights.locate(line)
        message = pages.messages[index]
        rows = pages.rows(message).rows
        return (message, number, rows[number]) if number < len(rows) else None

    def _strip(self, row: Row, width: int) -> Strip:
        # Always the full width: a row without a cell would have no offset to select from.
        return Strip(row.segments).extend_cell_length(width, self._ground)

    def _selection_style(self) -> Style:
        """The theme's ground for selected text; its letters keep their colour unless the theme names one."""
        whole = self.screen.get_component_rich_style("screen--selection")
        own = self.screen.get_component_rich_style("screen--selection", partial=True)
        return Style(color=own.color, bgcolor=whole.bgcolor)

    def _below(self, width: int) -> Strip:
        label = BELOW[:width]
        left = max(0, (min(width, 104) - len(label)) // 2)
        segments = [Segment(" " * left, self._ground), Segment(label, self._pages.palette["below"])]
        return Strip(segments).extend_cell_length(width, self._ground)

    def _clear_selection(self) -> None:
        if self.is_mounted and self in self.screen.selections:
            self.screen.clear_selection()

    # Scrolling. Nothing is animated: a scroll target goes stale when heights become exact on the way.

    def action_scroll_up(self) -> None:
        self.scroll_relative(y=-1, animate=False)

    def action_scroll_down(self) -> None:
        self.scroll_relative(y=1, animate=False)

    def action_page_up(self) -> None:
        self.scroll_relative(y=1 - self.size.height, animate=False)

    def action_page_down(self) -> None:
        self.scroll_relative(y=self.size.height - 1, animate=False)

    def action_scroll_home(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_scroll_end(self) -> None:
        self.follow()

    def _on_scroll_to(self, message: ScrollTo) -> None:
        message.prevent_default()
        message.stop()
        self.scroll_to(y=message.y, animate=False)

    def _on_scroll_up(self, event: ScrollUp) -> None:
        event.prevent_default()
        event.stop()
        self.action_page_up()

    def _on_scroll_down(self, event: ScrollDown) -> None:
        event.prevent_default()
        event.stop()
        self.action_page_down()
