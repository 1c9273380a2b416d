"""Two or three answers to the same question beside each other while they are written, and the one to keep.

It is fed by `stream` and `finish` and is dismissed with the key of the side that is kept, or None. It knows
neither models nor conversations.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from app.assets import asset
from app.chat.text import one_line
from app.tui.screens.guarded import GuardedScreen
from app.tui.widgets.transcript import Entry, Transcript

COLUMN = 50
"""Columns that a side needs to stand beside another; with fewer one is shown at a time."""
_HEADING = "Answer"


class Side(msgspec.Struct, frozen=True):
    """One answer: the key of its message, and who gives it."""

    key: int
    name: str


class _Line(Static):
    """A line that acts when it is clicked."""

    def __init__(self, act: Callable[[], object], text: str = "", classes: str = "") -> None:
        super().__init__(Content(text), classes=classes)
        self._act = act

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self._act()


class _Column(Vertical):
    """One side: who answers and how far it is, the answer, and the line that keeps it."""

    def __init__(self, number: int, side: Side, look: Callable[[], object], keep: Callable[[], object]) -> None:
        super().__init__(classes="side")
        self.number, self.side = number, side
        self.entry = Entry(side.key, "assistant", _HEADING, "")
        self.ended = False
        self.transcript = Transcript()
        self.transcript.show([self.entry])
        self.heading = _Line(look, classes="heading")
        self.tab = _Line(look, classes="tab")
        self._kept = _Line(keep, f"Keep this one ({number})", classes="keep")
        self._state = "waiting"
        self.tell(False)

    def compose(self) -> ComposeResult:
        yield self.heading
        yield self.transcript
        yield self._kept

    def stream(self, text: str, reasoning: str, activity: str) -> None:
        self._state = activity
        if text or reasoning:
            self.entry = replace(self.entry, text=text, reasoning=reasoning)
            self.transcript.stream(self.side.key, text, reasoning)

    def finish(self, entry: Entry, speed: str) -> None:
        self.ended = True
        # Who says it stands above, and what else could be done with it is done in the conversation.
        self.entry = replace(entry, key=self.side.key, heading=_HEADING, place=(1, 1))
        self.transcript.finish(self.entry)
        self._state = " · ".join(part for part in (one_line(entry.note, 40) or "done", speed) if part)

    def tell(self, current: bool) -> None:
        """Bring heading and tab up to date."""
        sign = "▸" if current else " "
        name = f"{self.number} {one_line(self.side.name, 26)}"
        weight = "bold" if current else ""
        self.heading.update(Content.assemble(f"{sign} ", (name, weight), (f"  {self._state}", "dim")))
        self.tab.update(Content.assemble(f"{sign} ", (f"{name}{' ✓' if self.ended else ' …'}", weight)))


class Compare(GuardedScreen[int | None]):
    """The answers to `question`. `stop`, where it is given, stops all that are still being written."""

    CSS_PATH = asset("styles/comparing.tcss")
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "look(1)", "Next side", show=False, priority=True, id="compare.next"),
        Binding("shift+tab", "look(-1)", "Side before", show=False, priority=True, id="compare.previous"),
        Binding("1", "keep(0)", "Keep the first", show=False, id="compare.first"),
        Binding("2", "keep(1)", "Keep the second", show=False, id="compare.second"),
        Binding("3", "keep(2)", "Keep the third", show=False, id="compare.third"),
        # Before the transcript, whose own Enter opens a menu that has no place here.
        Binding("enter", "keep_this", "Keep this one", show=False, priority=True, id="compare.keep"),
        Binding("s", "stop", "Stop", show=False, id="compare.stop"),
        Binding("c", "copy", "Copy", show=False, id="compare.copy"),
        Binding("escape,q", "leave", "Leave", show=False, id="compare.leave"),
    ]

    def __init__(self, question: str, sides: Sequence[Side], stop: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-one"), (COLUMN * max(len(sides), 2), "-beside")]
        self._question, self._stop = question, stop
        self._columns = [self._column(place, side) for place, side in enumerate(sides)]
        self._current = 0
        self._keys = Static("", id="keys", markup=False)

    def _column(self, place: int, side: Side) -> _Column:
        return _Column(place + 1, side, lambda: self._look_at(place), lambda: self.action_keep(place))

    def compose(self) -> ComposeResult:
        yield Static(Content(one_line(self._question, 400)), id="question")
        with Horizontal(id="tabs"):
            for column in self._columns:
                yield column.tab
        with Horizontal(id="sides"):
            yield from self._columns
        yield self._keys

    def on_mount(self) -> None:
        self._look_at(0)

    # --- what the window calls ---

    def stream(self, side: int, text: str, reasoning: str, activity: str) -> None:
        """The text so far of the side with this key, and what it does now. A key that is none of ours is passed
        over."""
        column = self._of(side)
        if column is not None and not column.ended:
            column.stream(text, reasoning, activity)
            self._tell()

    def finish(self, side: int, entry: Entry, speed: str) -> None:
        """The side has ended, for whatever reason; `entry` says how, `speed` how fast."""
        column = self._of(side)
        if column is not None:
            column.finish(entry, speed)
            self._tell()

    def _of(self, key: int) -> _Column | None:
        return next((column for column in self._columns if column.side.key == key), None)

    # --- which side is looked at ---

    def _look_at(self, place: int) -> None:
        self._current = place
        for number, column in enumerate(self._columns):
            column.set_class(number == place, "-current")
        # Where one is shown at a time it can take the focus only after it has come into sight.
        self.call_after_refresh(self._columns[place].transcript.focus)
        self._tell()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for place, column in enumerate(self._columns):
            if event.widget is column.transcript and place != self._current:
                self._look_at(place)

    def _tell(self) -> None:
        for place, column in enumerate(self._columns):
            column.tell(place == self._current)
        numbers = " ".join(str(column.number) for column in self._columns)
        stop = "s stop · " if self._can_stop else ""
        self._keys.update(Content(f"{numbers} Enter keep · Tab other · {stop}c copy · Esc later"))

    @property
    def _can_stop(self) -> bool:
        return self._stop is not None and not all(column.ended for column in self._columns)

    def action_look(self, step: int) -> None:
        self._look_at((self._current + step) % len(self._columns))

    # --- what is done ---

    def action_keep(self, place: int) -> None:
        if place < len(self._columns):
            self.dismiss(self._columns[place].side.key)

    def action_keep_this(self) -> None:
        self.action_keep(self._current)

    def action_stop(self) -> None:
        if self._stop is not None and self._can_stop:
            self._stop()

    def action_copy(self) -> None:
        text = self._columns[self._current].entry.text
        if text:
            self._copy(text, "the answer")

    def on_transcript_copy_requested(self, event: Transcript.CopyRequested) -> None:
        event.stop()
        self._copy(event.text, "the code")

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.app.notify(f"Copied {what}.", timeout=3, markup=False)

    def on_transcript_menu_requested(self, event: Transcript.MenuRequested) -> None:
        """What can be done here with one side; everything else waits until one is kept."""
        from app.tui.screens.menu import Menu, MenuRow

        event.stop()
        place = next(place for place, column in enumerate(self._columns) if column.side.key == event.key)
        self._look_at(place)
        rows = [
            MenuRow(f"keep({place})", "Keep this one", str(place + 1)),
            MenuRow("copy", "Copy", "c", bool(self._columns[place].entry.text), "it is empty"),
            MenuRow("stop", "Stop", "s", self._can_stop, "nothing is being written"),
        ]

        async def chosen(action: str | None) -> None:
            if action is not None:
                await self.run_action(action)

        self.app.push_screen(Menu(self._columns[place].side.name, rows), chosen)

    def on_transcript_link_requested(self, event: Transcript.LinkRequested) -> None:
        """Here too a link is opened only after a question."""
        from app.tui.links import link_question, open_link
        from app.tui.screens.asking import Confirm

        event.stop()
        url = event.url
        asked = link_question(url)
        if isinstance(asked, str):
            self.app.notify(asked, severity="error", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes and (sentence := open_link(url)):
                self.app.notify(sentence, severity="error", markup=False)

        self.app.push_screen(Confirm(asked[0], "Open", asked[1]), answered)

    def action_leave(self) -> None:
        self.dismiss(None)
