"""One message of the transcript as rows: who speaks, what came along, the folded reasoning, the text, the note below.

Every text is made safe here, before anything else looks at it. Knows the palette's parts, not their colours,
and nothing of scrolling.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rich.segment import Segment
from rich.style import Style

from app.chat.text import visible
from app.tui.markdown.render import Prefix, Renderer
from app.tui.markdown.rows import Palette, Row, Run, cells, flow
from app.tui.markdown.spots import hot

READING_WIDTH = 100
"""Cells of text in a row at most: longer lines are hard to follow back."""
MARGIN = "  "
BAR = "▌ "
THINKING_ROWS = 6
"""Rows of the latest reasoning in sight while the model still thinks."""
_THINKING_CHUNK = 2_000

Form = Literal["folded", "open", "thinking"]
"""How reasoning is shown: as one line, whole, or by its last rows while the answer has not begun."""

MENU = "⋯"


@dataclass(frozen=True)
class Entry:
    """A message as the transcript is given it: raw text, made safe when shown.

    `note` is what there is to say about its end: "stopped", "interrupted", or a sentence; `wrong` where it failed.
    `place` (2, 3) makes it the second of three answers, or questions, that stand beside each other. `attachments`
    are finished words, a line each.
    """

    key: int
    role: Literal["user", "assistant", "notice"]
    heading: str
    text: str
    reasoning: str = ""
    note: str = ""
    wrong: bool = False
    place: tuple[int, int] = (1, 1)
    attachments: tuple[str, ...] = ()
    edited: bool = False


class Span(NamedTuple):
    """Rows from `first` up to, not including, `stop`."""

    first: int
    stop: int


NOWHERE = Span(0, 0)


@dataclass
class Rendered:
    """A message's rows for one width and palette, and which of them are what."""

    rows: list[Row]
    codes: list[str] = field(default_factory=list)
    fold: int | None = None
    """The row that folds its reasoning."""
    reasoning: Span = NOWHERE
    text: Span = NOWHERE


def text_width(width: int) -> int:
    """The cells for margin and text in a window of `width`: one stays free at the right."""
    return max(min(width - 1, READING_WIDTH + len(MARGIN)), 8)


def estimate(entry: Entry, width: int, unfolded: bool) -> int:
    """A guess at the rows of a message, from its length and line breaks alone."""
    room = max(text_width(width) - len(MARGIN), 1)
    rows = 2 + entry.text.count("\n") + len(entry.text) // room
    if entry.reasoning:
        rows += 2
        if unfolded:
            rows += entry.reasoning.count("\n") + len(entry.reasoning) // room
    return rows + len(entry.attachments) + (2 if entry.note else 0)


def render(
    entry: Entry,
    width: int,
    palette: Palette,
    *,
    unfolded: bool = False,
    seconds: float | None = None,
    colours: bool = True,
) -> Rendered:
    """All rows of a finished message. Without `colours` code is not highlighted: same rows, sooner."""
    page = Page(entry, width, palette)
    if entry.reasoning:
        page.reasoning(entry.reasoning, "open" if unfolded else "folded", seconds)
    body = Renderer(page.width, palette, page.margin, colours)
    text = visible(entry.text)
    if entry.role == "assistant":
        body.markdown(text)
    elif text:
        body.plain(text, palette["notice" if entry.role == "notice" else "text"])
    page.body(body.rows, body.codes)
    page.note(entry.note, entry.wrong)
    return page.rendered


class Page:
    """The rows of a message in the making, from top to bottom."""

    def __init__(self, entry: Entry, width: int, palette: Palette) -> None:
        self.width = text_width(width)
        self._palette = palette
        left, part = (BAR, "user-bar") if entry.role == "user" else (MARGIN, "text")
        self.margin = Prefix(left, palette[part], decoration=True)
        self.rendered = Rendered([])
        self._heading(entry)
        for attachment in entry.attachments:
            self._flow(f"+ {visible(attachment)}", palette["attachment"])

    def _heading(self, entry: Entry) -> None:
        """Who speaks, and behind it what can be done: decoration, which is neither selected nor copied."""
        name = visible(entry.heading).replace("\n", " ")
        if name:
            self._flow(name, self._palette[entry.role])
        if entry.role == "notice":
            return
        rows = self.rendered.rows
        if not name:
            rows.append(Row([self.margin.rest], 2, 2))
        for control in self._controls(entry):
            size = sum(cells(text) for text, _ in control)
            used = sum(cells(segment.text) for segment in rows[-1].segments)
            if used + 2 + size > self.width:
                rows.append(Row([self.margin.rest], 2, 2))
                used = self.margin.cells
            gap = "  " if used > self.margin.cells else ""
            if used + len(gap) + size <= self.width:
                added = [Segment(text, style) for text, style in ((gap, self._palette["text"]), *control) if text]
                rows[-1] = rows[-1]._replace(segments=[*rows[-1].segments, *added])

    def _controls(self, entry: Entry) -> list[list[Run]]:
        """The branch switch, the mark of an edited answer, the menu; an arrow that leads nowhere is not drawn."""
        palette = self._palette
        at, count = entry.place
        controls: list[list[Run]] = []
        if count > 1:
            back = ("‹ ", hot(palette["switch"], "branch", -1)) if at > 1 else ("  ", palette["text"])
            on = (" ›", hot(palette["switch"], "branch", 1)) if at < count else ("  ", palette["text"])
            controls.append([back, (f"{at}/{count}", palette["place"]), on])
        if entry.edited:
            controls.append([("edited", palette["note"])])
        controls.append([(MENU, hot(palette["menu"], "menu"))])
        return controls

    def reasoning(self, text: str, form: Form, seconds: float | None) -> None:
        """The reasoning: one line about it, and below that none, all, or the end of it."""
        words = len(text.split())
        size = f"{words:,} word{'' if words == 1 else 's'}"
        title = f"Thought ({size})" if seconds is None else f"Thought for {_duration(seconds)} ({size})"
        if form == "thinking":
            title = f"Thinking… ({size})"
            # Cut where the cut stays for a while, so that what is in sight does not dance.
            cut = max(len(text) // _THINKING_CHUNK - 1, 0) * _THINKING_CHUNK
            text = text[cut:]
        rows = self.rendered.rows
        self.rendered.fold = len(rows)
        self._flow(f"{'▸' if form == 'folded' else '▾'} {title}", hot(self._palette["fold"], "fold"))
        if form != "folded":
            bar = Segment("┊ ", self._palette["reasoning-bar"])
            runs = [(visible(text.strip()), self._palette["reasoning"])]
            found = [
                Row([self.margin.rest, bar, *segments], 4, 4 + _letters(segments), join)
                for segments, join in flow(runs, self.width - 4)
            ]
            first = len(rows)
            rows += found[-THINKING_ROWS:] if form == "thinking" else found
            self.rendered.reasoning = Span(first, len(rows))
        rows.append(self._blank())

    def body(self, rows: list[Row], codes: list[str]) -> None:
        first = len(self.rendered.rows)
        self.rendered.rows += rows
        self.rendered.codes = codes
        self.rendered.text = Span(first, first + len(rows))

    def note(self, note: str, wrong: bool) -> None:
        """How it ended, if there is something to say, and the blank row between messages."""
        if note:
            if self.rendered.rows:
                self.rendered.rows.append(self._blank())
            sign, part = ("✗", "error") if wrong else ("■", "note")
            self._flow(f"{sign} {visible(note)}", self._palette[part])
        self.rendered.rows.append(self._blank())

    def _flow(self, text: str, style: Style) -> None:
        for segments, join in flow([(text, style)], self.width - self.margin.cells):
            self.rendered.rows.append(Row([self.margin.rest, *segments], 2, 2 + _letters(segments), join))

    def _blank(self) -> Row:
        return Row([], 0, 0)


def _letters(segments: list[Segment]) -> int:
    return sum([len(segment.text) for segment in segments])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{max(rest, 1)} s"
