"""The transcript: one widget that shows a conversation of any length.

It is virtual: a list of messages with a height each, of which only those around the window are rendered. A
height is an estimate until its message was first rendered, then exact; whatever becomes exact above the
window moves the scroll position along, so that what a person reads stays where it is. Idle moments make the
other heights exact.

Selection is Textual's: every cell carries an offset of (character, row), where the row counts within its
message and the message's serial number stands above it, so that an offset stays true while heights elsewhere
change.

It knows entries (`app.tui.widgets.message`), not the store they come from, and no clipboard.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import monotonic, perf_counter
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Size
from textual.message import Message as TextualMessage
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollDown, ScrollTo, ScrollUp
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from app.tui.markdown.rows import Row, restyled
from app.tui.widgets.heights import Heights
from app.tui.widgets.look import PARTS, STYLES
from app.tui.widgets.message import Entry, Rendered, Shown, estimate

__all__ = ["Entry", "Transcript"]

KEPT_ROWS = 6_000
"""Rendered rows kept beyond those in sight: some 200 messages, a few megabytes."""
KEPT_STRIPS = 600
SHARE = 0.12
"""Of a core: what repainting live answers may take; one that took t is followed by a pause of t / SHARE."""
IDLE_EVERY = 0.1
IDLE_BUDGET = 0.006
"""Seconds: every so often, for so long, heights out of sight are made exact."""
IDLE_LARGEST = 50_000
"""Characters; a longer message keeps its estimate until it comes into sight."""
ROW_BITS = 24
BELOW = " ↓ more below · End "


class Transcript(ScrollView, can_focus=True, inherit_bindings=False):
    """A conversation: finished entries by `show`, `add`, `update`, `discard`; a live one by `stream`, `finish`.

    A key that is not shown is passed over: what it belongs to may have been left a moment ago.
    """

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"transcript--{part}" for part in PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False, id="transcript.up"),
        Binding("down", "scroll_down", "Down", show=False, id="transcript.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page-up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page-down"),
        Binding("home", "scroll_home", "First message", show=False, id="transcript.home"),
        Binding("end", "scroll_end", "Latest message", show=False, id="transcript.end"),
        Binding("space", "toggle_reasoning", "Show or hide reasoning", show=False, id="transcript.reasoning"),
    ]
    DEFAULT_CSS = STYLES

    class CopyRequested(TextualMessage):
        """Someone asked to copy `text`, raw: a code block."""

        def __init__(self, transcript: "Transcript", text: str) -> None:
            super().__init__()
            self.transcript = transcript
            self.text = text

        @property
        def control(self) -> "Transcript":
            return self.transcript

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._messages: list[Shown] = []
        self._by_key: dict[int, Shown] = {}
        self._heights = Heights()
        self._serial = 0
        self._width = 0
        self._palette: dict[str, Style] = {}
        self._palette_stale = True
        self._kept: OrderedDict[int, Shown] = OrderedDict()
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
        self._sweep = 0
        self._busy_until = 0.0

    # What the window calls.

    @property
    def following(self) -> bool:
        """Whether the end is kept in sight as text arrives."""
        return self._following

    def show(self, entries: Iterable[Entry]) -> None:
        """Replace everything and go to the end."""
        self._clear_selection()
        self._messages = [self._message(entry) for entry in entries]
        self._by_key = {message.entry.key: message for message in self._messages}
        self._pending.clear()
        self._kept.clear()
        self._strips.clear()
        self._estimate_all()
        self.follow()

    def add(self, entry: Entry) -> None:
        """Append a message."""
        if entry.key in self._by_key:
            self.update(entry)
            return
        message = self._message(entry)
        self._messages.append(message)
        self._by_key[entry.key] = message
        self._heights.append(estimate(entry, self._width, False))
        self._sweep = len(self._messages)
        self._news = not self._following
        self._settle()

    def update(self, entry: Entry) -> None:
        """Show `entry` in place of the one with its key."""
        message = self._by_key.get(entry.key)
        if message is None:
            return
        place = self._place()
        message.entry = entry
        message.streaming = False
        self._pending.discard(entry.key)
        self._forget(message)
        self._settle(place)

    def discard(self, key: int) -> None:
        """Take a message away."""
        message = self._by_key.pop(key, None)
        if message is None:
            return
        place = self._place()
        index = self._index(message)
        self._drop(message)
        self._pending.discard(key)
        del self._messages[index]
        self._heights.remove(index)
        self._sweep = min(self._sweep, len(self._messages))
        if place is not None:
            at, row = place
            if index < at:
                place = at - 1, row
            elif index == at:
                place = (min(at, len(self._messages) - 1), 0) if self._messages else None
        self._settle(place)

    def stream(self, key: int, text: str, reasoning: str = "") -> None:
        """The text so far of the live answer `key`. Cheap at any rate: it is painted when there is time."""
        message = self._by_key.get(key)
        if message is None:
            return
        now = monotonic()
        if reasoning and message.began is None:
            message.began = now
        if text and message.began is not None and message.answered is None:
            message.answered = now
        message.entry = replace(message.entry, text=text, reasoning=reasoning)
        message.streaming = True
        self._pending.add(key)
        self._busy_until = now + 0.5
        if now >= self._repaint_after:
            self._paint_live()
        elif self._repaint is None and self.is_mounted:
            self._repaint = self.set_timer(self._repaint_after - now, self._paint_live)

    def finish(self, entry: Entry) -> None:
        """The live answer is complete: render it whole, as it will be shown from now on."""
        message = self._by_key.get(entry.key)
        if message and message.began is not None and message.answered is None:
            message.answered = monotonic()
        self.update(entry)

    def follow(self) -> None:
        """Go to the end and stay there as text arrives."""
        self._following = True
        self._news = False
        self._settle()

    def toggle_reasoning(self, key: int) -> None:
        """Unfold or fold the reasoning of a message."""
        message = self._by_key[key]
        place = self._place()
        message.unfolded = not message.unfolded
        if message.streaming:
            self._pending.add(key)
            self._paint_live(place)
        else:
            self._forget(message)
            self._settle(place)

    # Messages and their rows.

    def _message(self, entry: Entry) -> Shown:
        self._serial += 1
        return Shown(entry, self._serial)

    def _index(self, message: Shown) -> int:
        # Serial numbers ascend, and mostly the message asked for is the last.
        low, high = 0, len(self._messages) - 1
        if high >= 0 and self._messages[high] is message:
            return high
        while low < high:
            middle = (low + high) // 2
            if self._messages[middle].serial < message.serial:
                low = middle + 1
            else:
                high = middle
        return low

    def _rows(self, message: Shown) -> Rendered:
        """The message rendered, from what is kept or anew."""
        self._kept[message.serial] = message
        self._kept.move_to_end(message.serial)
        if message.rendered is None:
            message.rendered = message.render(self._width, self._colours())
        return message.rendered

    def _measure(self, index: int) -> int:
        """The exact height of a message, by rendering it where that was not done yet."""
        message = self._messages[index]
        if not message.exact or message.rendered is None:
            self._heights[index] = len(self._rows(message).rows)
            message.exact = True
        return self._heights[index]

    def _forget(self, message: Shown) -> None:
        """The message must be rendered again."""
        self._drop(message)
        message.exact = False
        self._sweep = max(self._sweep, self._index(message) + 1)

    def _drop(self, message: Shown) -> None:
        message.forget()
        self._kept.pop(message.serial, None)

    def _trim(self) -> None:
        """Forget the rows least recently in sight, past `KEPT_ROWS`."""
        rows = sum(len(message.rendered.rows) for message in self._kept.values() if message.rendered)
        while rows > KEPT_ROWS and len(self._kept) > 1:
            _, message = self._kept.popitem(last=False)
            if message.rendered:
                rows -= len(message.rendered.rows)
                message.rendered = None

    def _estimate_all(self) -> None:
        for message in self._messages:
            message.exact = False
        self._heights.replace([estimate(m.entry, self._width, m.unfolded) for m in self._messages])
        self._sweep = len(self._messages)

    # Where the window stands.

    def _place(self) -> tuple[int, int] | None:
        """(message, row within it) at the window's top; None where the end is followed or all is empty."""
        if self._following or not self._messages:
            return None
        return self._heights.locate(round(self.scroll_y))

    def _settle(self, place: tuple[int, int] | None = None) -> None:
        """Make the heights around the window exact and put `place`, or what was there, at its top again."""
        if not self._width:
            return
        height = self.size.height
        place = place or self._place()
        if place is None:
            index, room = len(self._messages), 2 * height
            while index and room > 0:
                index -= 1
                room -= self._measure(index)
            top = self._heights.total - height
        else:
            index, row = place
            before = self._heights[index]
            after = self._measure(index)
            if after != before and row:
                row = min(row * after // max(before, 1), after - 1)
            row = min(row, max(after - 1, 0))
            below, room = index + 1, 2 * height - (after - row)
            while below < len(self._messages) and room > 0:
                room -= self._measure(below)
                below += 1
            above, room = index, height - row
            while above and room > 0:
                above -= 1
                room -= self._measure(above)
            top = self._heights.start(index) + row
        self._move(max(min(top, self._heights.total - height), 0))
        self._trim()
        if self._idle is not None and self._sweep:
            self._idle.resume()

    def _move(self, top: int) -> None:
        size = Size(self.size.width, self._heights.total)
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

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._settling and self._width:
            self._held = None
            self._busy_until = monotonic() + 0.2
            self._following = round(new_value) >= self.max_scroll_y
            self._settle()

    def on_mount(self) -> None:
        self._idle = self.set_interval(IDLE_EVERY, self._measure_idly, pause=not self._sweep)

    def on_resize(self) -> None:
        width = self.size.width
        if width == self._width or width <= 0:
            self._settle()
            return
        place = self._place()
        if place is None:
            self._held = None
        elif self._held is None or self._by_key.get(self._held[0].entry.key) is not self._held[0]:
            self._held = self._messages[place[0]], self._letters_above(place)
        self._width = width
        self._clear_selection()
        for message in self._messages:
            message.forget()
        self._kept.clear()
        self._strips.clear()
        self._estimate_all()
        if self._held is not None:
            index = self._index(self._held[0])
            place = index, self._row_after(index, self._held[1])
        self._settle(place)

    def _letters_above(self, place: tuple[int, int]) -> int:
        """How much of its message, white space aside, stands above `place`: no width changes that."""
        rows = self._rows(self._messages[place[0]]).rows[: place[1]]
        return sum(len("".join(row.content.split())) for row in rows)

    def _row_after(self, index: int, letters: int) -> int:
        self._measure(index)
        for number, row in enumerate(self._rows(self._messages[index]).rows):
            letters -= len("".join(row.content.split()))
            if letters < 0:
                return number
        return 0

    def _measure_idly(self) -> None:
        """Make some heights out of sight exact, the latest first, without moving what is in sight."""
        if monotonic() < self._busy_until or not self._width:
            return
        place = self._place()
        began = perf_counter()
        while self._sweep and perf_counter() - began < IDLE_BUDGET:
            self._sweep -= 1
            message = self._messages[self._sweep]
            if not (message.exact or message.streaming) and len(message.entry.text) < IDLE_LARGEST:
                rendered = message.render(self._width, self._colours(), colours=False)
                self._heights[self._sweep] = len(rendered.rows)
                message.exact = True
        if not self._sweep and self._idle is not None:
            self._idle.pause()
        self._settle(place)

    def _paint_live(self, place: tuple[int, int] | None = None) -> None:
        if self._repaint is not None:
            self._repaint.stop()
            self._repaint = None
        if not self._width:
            return
        began = perf_counter()
        place = place or self._place()
        for key in self._pending:
            message = self._by_key[key]
            message.rendered = message.render(self._width, self._colours())
            index = self._index(message)
            self._heights[index] = len(message.rendered.rows)
            message.exact = True
            self._kept[message.serial] = message
            self._news |= not self._following
        self._pending.clear()
        self._settle(place)
        self._repaint_after = monotonic() + (perf_counter() - began) / SHARE

    # Looks.

    def _colours(self) -> dict[str, Style]:
        """The palette in force; where the theme changed it, what was rendered with the old one is dropped."""
        if self._palette_stale:
            self._palette_stale = False
            palette = {part: self.get_component_rich_style(f"transcript--{part}") for part in PARTS}
            if palette != self._palette:
                self._palette = palette
                self._strips.clear()
                for message in self._messages:
                    message.forget()
        return self._palette

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette_stale = True

    def render_line(self, y: int) -> Strip:
        self._colours()
        width, height = self.size
        top = round(self.scroll_y)
        if self._news and y == height - 1:
            return self._below(width)
        if not self._messages or top + y >= self._heights.total:
            return Strip.blank(width, self.rich_style)
        index, number = self._heights.locate(top + y)
        message = self._messages[index]
        rows = self._rows(message).rows
        if number >= len(rows):
            return Strip.blank(width, self.rich_style)
        row = rows[number]
        offset = message.serial << ROW_BITS | number
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(offset)) is not None:
            chosen = restyled(row, *row.clip(span), self._selection_style())
            return self._strip(chosen, width).apply_offsets(0, offset)
        known = self._strips.get(id(row))
        strip = known[1] if known else self._strip(row, width)
        self._strips[id(row)] = row, strip
        self._strips.move_to_end(id(row))
        if len(self._strips) > KEPT_STRIPS:
            self._strips.popitem(last=False)
        return strip.apply_offsets(0, offset)

    def _strip(self, row: Row, width: int) -> Strip:
        # Always the full width: a row without a cell would have no offset to select from.
        return Strip(row.segments).extend_cell_length(width, self.rich_style)

    def _selection_style(self) -> Style:
        """The theme's ground for selected text; its letters keep their colour unless the theme names one."""
        whole = self.screen.get_component_rich_style("screen--selection")
        own = self.screen.get_component_rich_style("screen--selection", partial=True)
        return Style(color=own.color, bgcolor=whole.bgcolor)

    def _below(self, width: int) -> Strip:
        label = BELOW[:width]
        left = max(0, (min(width, 104) - len(label)) // 2)
        segments = [Segment(" " * left, self.rich_style), Segment(label, self._palette["below"])]
        return Strip(segments).extend_cell_length(width, self.rich_style)

    # Selection.

    def _clear_selection(self) -> None:
        if self.is_mounted and self in self.screen.selections:
            self.screen.clear_selection()

    def _chosen(self, selection: Selection) -> Iterator[tuple[str, str]]:
        first = 0 if selection.start is None else selection.start.y >> ROW_BITS
        last = self._serial if selection.end is None else selection.end.y >> ROW_BITS
        for message in self._messages:
            if not first <= message.serial <= last:
                continue
            rendered = message.rendered or message.render(self._width, self._colours(), colours=False)
            for number, row in enumerate(rendered.rows):
                span = selection.get_span(message.serial << ROW_BITS | number)
                if span is not None:
                    begin, end = row.clip(span)
                    yield row.text[begin:end], row.join

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, soft wraps undone, without bars and margins."""
        if not self._width:
            return None
        pieces = [piece for pair in self._chosen(selection) for piece in pair]
        return "".join(pieces[:-1]), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Keys and mouse. Nothing is animated: a scroll target goes stale when heights become exact on the way.

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

    def action_toggle_reasoning(self) -> None:
        """Fold or unfold the last reasoning in sight."""
        if not self._messages or not self._width:
            return
        top = round(self.scroll_y)
        first, _ = self._heights.locate(top)
        last, _ = self._heights.locate(top + self.size.height - 1)
        for message in reversed(self._messages[first : last + 1]):
            if message.entry.reasoning:
                self.toggle_reasoning(message.entry.key)
                return

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

    def on_click(self, event: events.Click) -> None:
        """Fold reasoning, copy code, go to the end; twice selects a word and three times a message."""
        event.prevent_default()
        at = event.get_content_offset(self)
        if at is None or not self._messages:
            return
        if self._news and at.y == self.size.height - 1:
            self.follow()
            return
        line = round(self.scroll_y) + at.y
        if line >= self._heights.total:
            return
        index, number = self._heights.locate(line)
        message = self._messages[index]
        rendered = self._rows(message)
        if number >= len(rendered.rows):
            return
        if event.chain > 1:
            self._select(message, rendered, number, event)
        elif self.text_selection is None:
            if number == rendered.fold:
                self.toggle_reasoning(message.entry.key)
            for code in rendered.codes:
                if number == code.first:
                    self.post_message(self.CopyRequested(self, code.text))

    def _select(self, message: Shown, rendered: Rendered, number: int, event: events.Click) -> None:
        base = message.serial << ROW_BITS
        if event.chain > 2:
            last = rendered.rows[-1]
            chosen = Selection(Offset(0, base), Offset(last.stop, base | len(rendered.rows) - 1))
        else:
            _, offset = self.screen.get_widget_and_offset_at(event.screen_x, event.screen_y)
            row = rendered.rows[number]
            text = row.text
            if offset is None or not row.start <= offset.x < row.stop or text[offset.x] == " ":
                return
            begin = text.rfind(" ", row.start, offset.x) + 1 or row.start
            end = text.find(" ", offset.x, row.stop)
            chosen = Selection(Offset(begin, base | number), Offset(row.stop if end < 0 else end, base | number))
        self.screen.selections = {self: chosen}
