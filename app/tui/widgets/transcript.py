"""The transcript: what the window and a person do with a conversation that is on the page.

Messages come and go and grow; one of them may be the current one, which keys act on; text is found, selected,
folded and clicked. How the page scrolls and paints is `app.tui.widgets.reading`'s.

It knows entries (`app.tui.widgets.message`), not the store they come from, no clipboard and no browser: what
others must do is posted.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage
from textual.selection import Selection

from app.tui.markdown.rows import Row, restyled
from app.tui.markdown.spots import Spot, spot_at, spots
from app.tui.widgets.finding import Finding
from app.tui.widgets.look import PARTS, STYLES
from app.tui.widgets.message import Entry, Rendered, render
from app.tui.widgets.reading import Reading
from app.tui.widgets.selecting import selected_text, whole_message, word
from app.tui.widgets.shown import Shown

__all__ = ["Entry", "Transcript"]

HERE = "❯ "
BESIDE = "┃ "
"""What stands in the margin of the current message: at its heading and beside its other rows."""

CLEAR = Style(dim=False)
"""What is found is never dim, whatever it stands in."""


class Transcript(Reading, can_focus=True, inherit_bindings=False):
    """A conversation: finished entries by `show`, `add`, `update`, `discard`; a live one by `stream`, `finish`.

    A key that is not shown is passed over: what it belongs to may have been left a moment ago.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"transcript--{part}" for part in PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False, id="transcript.up"),
        Binding("down", "scroll_down", "Down", show=False, id="transcript.down"),
        Binding("pageup", "page_up", "Page up", show=False, id="transcript.page-up"),
        Binding("pagedown", "page_down", "Page down", show=False, id="transcript.page-down"),
        Binding("home", "scroll_home", "First message", show=False, id="transcript.home"),
        Binding("end", "scroll_end", "Latest message", show=False, id="transcript.end"),
        Binding("j", "move_current(1)", "Next message", show=False, id="transcript.next"),
        Binding("k", "move_current(-1)", "Previous message", show=False, id="transcript.previous"),
        Binding("left", "branch(-1)", "Previous version", show=False, id="transcript.branch-back"),
        Binding("right", "branch(1)", "Next version", show=False, id="transcript.branch-on"),
        Binding("space", "toggle_reasoning", "Show or hide reasoning", show=False, id="transcript.reasoning"),
        Binding("enter", "menu", "What can be done with the message", show=False, id="transcript.menu"),
    ]
    DEFAULT_CSS = STYLES

    class CopyRequested(TextualMessage):
        """Someone asked to copy `text`, raw; `what` it is: "code"."""

        def __init__(self, text: str, what: str) -> None:
            super().__init__()
            self.text = text
            self.what = what

    class BranchRequested(TextualMessage):
        """Someone asked for the version before (`step` -1) or after (1) the message `key`; there is one."""

        def __init__(self, key: int, step: int) -> None:
            super().__init__()
            self.key = key
            self.step = step

    class MenuRequested(TextualMessage):
        """Someone asked what can be done with the message `key`."""

        def __init__(self, key: int) -> None:
            super().__init__()
            self.key = key

    class LinkRequested(TextualMessage):
        """Someone clicked a link of a message: `url` is of any scheme, and nothing about it was checked."""

        def __init__(self, url: str) -> None:
            super().__init__()
            self.url = url

    class SelectionMade(TextualMessage):
        """The mouse has selected `text`, which is not empty."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._current: Shown | None = None
        self._finding: Finding | None = None

    # Messages.

    def show(self, entries: Iterable[Entry]) -> None:
        """Replace everything and go to the end; no message is current."""
        self._clear_selection()
        self._current = None
        self._pages.replace(entries)
        self._pending.clear()
        self._strips.clear()
        self.follow()

    def add(self, entry: Entry) -> None:
        """Append a message."""
        if self._pages.get(entry.key) is not None:
            self.update(entry)
            return
        self._pages.add(entry)
        self._news = not self._following
        self._settle()

    def update(self, entry: Entry) -> None:
        """Show `entry` in place of the one with its key."""
        message = self._pages.get(entry.key)
        if message is None:
            return
        place = self._place()
        message.entry = entry
        message.streaming = False
        self._pending.discard(entry.key)
        self._pages.forget(message)
        self._settle(place)

    def discard(self, key: int) -> None:
        """Take a message away."""
        message = self._pages.get(key)
        if message is None:
            return
        place = self._place()
        index = self._pages.remove(message)
        self._pending.discard(key)
        if message is self._current:
            self._current = None
        if place is not None:
            at, row = place
            if index < at:
                place = at - 1, row
            elif index == at:
                place = (min(at, len(self._pages) - 1), 0) if len(self._pages) else None
        self._settle(place)

    def stream(self, key: int, text: str, reasoning: str = "") -> None:
        """The text so far of the live answer `key`. Cheap at any rate: it is painted when there is time."""
        message = self._pages.get(key)
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
        message = self._pages.get(entry.key)
        if message and message.began is not None and message.answered is None:
            message.answered = monotonic()
        self.update(entry)

    def show_reasoning(self, unfolded: bool) -> None:
        """Show the reasoning of all messages, those to come included, whole or folded behind a line."""
        if unfolded != self._pages.unfolded:
            place = self._place()
            self._pages.unfold(unfolded)
            self._settle(place)

    def toggle_reasoning(self, key: int) -> None:
        """Unfold or fold the reasoning of a message."""
        message = self._pages.get(key)
        if message is not None:
            self._fold(message, not message.unfolded)

    def _fold(self, message: Shown, unfolded: bool) -> None:
        place = self._place()
        message.unfolded = unfolded
        if message.streaming:
            self._pending.add(message.entry.key)
            self._paint_live(place)
        else:
            self._pages.forget(message)
            self._settle(place)

    def keys(self) -> list[int]:
        """The keys of all messages, from first to last."""
        return [message.entry.key for message in self._pages.messages]

    def entry(self, key: int) -> Entry | None:
        """The message `key` as it is shown now."""
        message = self._pages.get(key)
        return message.entry if message is not None else None

    def codes(self, key: int) -> list[str]:
        """The code blocks of a message, raw, from first to last."""
        entry = self.entry(key)
        return _unstyled(entry).codes if entry is not None else []

    def text(self, key: int) -> str:
        """What a message says as it is shown: without marks, soft wraps undone."""
        entry = self.entry(key)
        if entry is None:
            return ""
        rendered = _unstyled(entry)
        rows = rendered.rows[rendered.text.first : rendered.text.stop]
        return "".join([piece for row in rows for piece in (row.content, row.join)][:-1])

    def links(self, key: int) -> list[str]:
        """The targets of a message's links, from first to last, each once."""
        entry = self.entry(key)
        rows = _unstyled(entry).rows if entry is not None else []
        found = [spot.value for row in rows for _, _, spot in spots(row) if spot.kind == "link"]
        return list(dict.fromkeys(map(str, found)))

    def jump_to(self, key: int) -> None:
        """Bring the heading of a message to the top of the window, as far as there is text below it."""
        message = self._pages.get(key)
        if message is None or not self._pages.width:
            return
        self._following = False
        self._settle((self._pages.index(message), 0))
        self._following = round(self.scroll_y) >= self.max_scroll_y

    # The current message.

    @property
    def current(self) -> int | None:
        """The key of the message that keys act on."""
        return self._current.entry.key if self._current is not None else None

    def set_current(self, key: int | None) -> None:
        """Make a message the current one and bring it into sight; None makes none current."""
        self._current = self._pages.get(key) if key is not None else None
        if self._current is not None:
            self._reveal_message(self._current)
        self.refresh()

    def move_current(self, step: int) -> None:
        """Go to the next (1) or previous (-1) message; from none to the last or first one in sight."""
        messages = self._pages.messages
        if self._current is None:
            seen = self._in_sight()
            index = seen.stop - 1 if step < 0 else seen.start
        else:
            index = self._pages.index(self._current) + step
        while 0 <= index < len(messages) and messages[index].entry.role == "notice":
            index += 1 if step > 0 else -1
        if 0 <= index < len(messages):
            self.set_current(messages[index].entry.key)

    def _reveal_message(self, message: Shown) -> None:
        if not self._pages.width:
            return
        index = self._pages.index(message)
        height = self._pages.measure(index)
        room, top = self.size.height, round(self.scroll_y)
        begin = self._pages.heights.start(index)
        if height > room and begin <= top and begin + height >= top + room:
            return  # it fills the window: what is read of it stays
        # The blank row below it need not be seen.
        self._reveal(index, 0, max(height - 2, 0))

    # Finding.

    def find(self, query: str) -> tuple[int, int]:
        """Mark `query` wherever it occurs and go to the first one from what is in sight on.

        Returns its place among all of them and their number; (0, 0) where there is none.
        """
        old, pages = self._finding, self._pages
        finding = Finding(query, old)
        if not finding.needle or not len(pages) or not pages.width:
            self.end_find()
            return 0, 0
        index, at = self._top()[0], (self._top()[1], 0)
        if old is not None and old.present is not None and (place := self._where(old)) is not None:
            index, at = place
        self._finding = finding
        message = pages.messages[index]
        marks = finding.marks(message, pages.rows(message))
        return self._step_to(finding, index, finding.before(message, marks, at), 1)

    def find_step(self, step: int) -> tuple[int, int]:
        """Go to the next (1) or previous (-1) occurrence, round the end; returns as `find` does."""
        finding, pages = self._finding, self._pages
        if finding is None or not len(pages) or not pages.width:
            return 0, 0
        if finding.present is not None and pages.get(finding.present[0].entry.key) is finding.present[0]:
            message, ordinal = finding.present
            return self._step_to(finding, pages.index(message), ordinal + step, step)
        index, row = self._top()
        message = pages.messages[index]
        before = finding.before(message, finding.marks(message, pages.rows(message)), (row, 0))
        return self._step_to(finding, index, before if step > 0 else before - 1, step)

    def end_find(self) -> None:
        """Take the marks away; the view stays."""
        if self._finding is not None:
            self._finding = None
            self._following = round(self.scroll_y) >= self.max_scroll_y
            self.refresh()

    def _step_to(self, finding: Finding, index: int, ordinal: int, step: int) -> tuple[int, int]:
        pages = self._pages
        found = finding.seek(pages.messages, index, ordinal, step, pages.rows)
        self.refresh()
        if found is None:
            finding.present = None
            return 0, 0
        message = pages.messages[found[0]]
        finding.present = message, found[1]
        if found[1] < finding.tally(message).reasoning and not message.unfolded:
            self._fold(message, True)
        place = self._where(finding)
        row = 0 if place is None else place[1][0]
        self._reveal(found[0], row, row, above=self.size.height // 3)
        # What was found stays in sight, whatever is being written.
        self._following = False
        return finding.place(pages.messages)

    def _where(self, finding: Finding) -> tuple[int, tuple[int, int]] | None:
        """(message index, (row, character)) of the occurrence one stands on, where it can be seen."""
        if finding.present is None or self._pages.get(finding.present[0].entry.key) is not finding.present[0]:
            return None
        message, ordinal = finding.present
        marks = finding.marks(message, self._pages.rows(message))
        number = finding.shown_ordinal(message, marks, ordinal)
        return None if number is None else (self._pages.index(message), marks.first[number])

    # Looks.

    def _dressed(self, message: Shown, number: int, row: Row) -> Row:
        rendered, palette = self._pages.rows(message), self._pages.palette
        if self._finding is not None:
            row = self._marked(self._finding, message, rendered, number, row)
        if message is self._current and row.segments:
            if number == 0:
                row = restyled(row, row.start, row.stop, palette["current"])
            margin = Segment(BESIDE if number else HERE, palette["current"])
            row = row._replace(segments=[margin, *row.segments[1:]])
        return row

    def _marked(self, finding: Finding, message: Shown, rendered: Rendered, number: int, row: Row) -> Row:
        marks = finding.marks(message, rendered)
        here: int | None = None
        if finding.present is not None and finding.present[0] is message:
            here = finding.shown_ordinal(message, marks, finding.present[1])
        for mark in marks.rows.get(number, ()):
            part = "present" if mark.ordinal == here else "found"
            row = restyled(row, mark.start, mark.stop, self._pages.palette[part] + CLEAR)
        return row

    # Selection.

    def on_mount(self) -> None:
        # The screen drops this when the button is let go, wherever on the screen that is.
        self.watch(self.screen, "_selecting", self._selecting_ended, init=False)

    def _selecting_ended(self, selecting: bool) -> None:
        if not selecting and self.text_selection is not None:
            self._tell_selection()

    def _tell_selection(self) -> None:
        if text := self.screen.get_selected_text():
            self.post_message(self.SelectionMade(text))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, soft wraps undone, without bars and margins."""
        if not self._pages.width:
            return None
        self._colours()
        return selected_text(self._pages, selection), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # Keys and mouse.

    def action_move_current(self, step: int) -> None:
        self.move_current(step)

    def action_branch(self, step: int) -> None:
        if self._current is not None:
            self._ask_branch(self._current, step)

    def action_menu(self) -> None:
        """Ask for the menu of the current message; where there is none, of the last one in sight."""
        if self._current is None:
            self.move_current(-1)
        if self._current is not None:
            self.post_message(self.MenuRequested(self._current.entry.key))

    def action_toggle_reasoning(self) -> None:
        """Fold or unfold the reasoning of the current message, else the last in sight."""
        seen = self._in_sight()
        messages = self._pages.messages[seen.start : seen.stop]
        if self._current is not None:
            messages = [self._current]
        for message in reversed(messages):
            if message.entry.reasoning:
                self.toggle_reasoning(message.entry.key)
                return

    def _ask_branch(self, message: Shown, step: int) -> None:
        at, count = message.entry.place
        if 1 <= at + step <= count:
            self.post_message(self.BranchRequested(message.entry.key, step))

    def on_click(self, event: events.Click) -> None:
        """Make a message current and do what lies there; twice selects a word and three times a message."""
        event.prevent_default()
        at = event.get_content_offset(self)
        if at is None:
            return
        if self._news and at.y == self.size.height - 1:
            self.follow()
            return
        found = self._row_at(at.y)
        if found is None:
            return
        message, number, row = found
        if event.chain > 1:
            self._select(message, number, event)
        elif self.text_selection is None:
            if message.entry.role != "notice":
                self._current = message
                self.refresh()
            if (spot := spot_at(row, at.x)) is not None:
                self._act(message, spot)

    def _act(self, message: Shown, spot: Spot) -> None:
        key, value = message.entry.key, spot.value
        if spot.kind == "fold":
            self.toggle_reasoning(key)
        elif spot.kind == "menu":
            self.post_message(self.MenuRequested(key))
        elif spot.kind == "branch":
            self._ask_branch(message, int(value))
        elif spot.kind == "link":
            self.post_message(self.LinkRequested(str(value)))
        elif spot.kind == "copy":
            self.post_message(self.CopyRequested(self._pages.rows(message).codes[int(value)], "code"))

    def _select(self, message: Shown, number: int, event: events.Click) -> None:
        rendered = self._pages.rows(message)
        chosen: Selection | None = None
        if event.chain > 2:
            chosen = whole_message(message, rendered)
        else:
            _, offset = self.screen.get_widget_and_offset_at(event.screen_x, event.screen_y)
            if offset is not None:
                chosen = word(message, rendered, number, offset.x)
        if chosen is not None:
            self.screen.selections = {self: chosen}
            self._tell_selection()


def _unstyled(entry: Entry) -> Rendered:
    """A message rendered for what it holds, not to be seen."""
    return render(entry, 80, defaultdict(Style), colours=False)
