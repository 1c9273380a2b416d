"""One message of the transcript as rows: who speaks, the folded reasoning, the text, the note below.

Every text is made safe here, before anything else looks at it. Knows the palette's parts, not their colours,
and nothing of scrolling.
"""

from dataclasses import dataclass, field
from typing import Literal

from rich.segment import Segment
from rich.style import Style

from app.chat.text import visible
from app.tui.markdown.live import LiveMarkdown
from app.tui.markdown.render import Code, Prefix, Renderer
from app.tui.markdown.rows import Palette, Row, flow

READING_WIDTH = 100
"""Cells of text in a row at most: longer lines are hard to follow back."""
MARGIN = "  "
BAR = "▌ "
THINKING_ROWS = 6
"""Rows of the latest reasoning in sight while the model still thinks."""
_THINKING_CHUNK = 2_000

Form = Literal["folded", "open", "thinking"]
"""How reasoning is shown: as one line, whole, or by its last rows while the answer has not begun."""

ENDINGS = ("stopped", "interrupted")
"""Notes that are no error."""


@dataclass(frozen=True)
class Entry:
    """A message as the transcript is given it: raw text, made safe when shown.

    `note` is what there is to say about its end: "stopped", "interrupted", or a sentence about what failed.
    """

    key: int
    role: Literal["user", "assistant", "notice"]
    heading: str
    text: str
    reasoning: str = ""
    note: str = ""


@dataclass
class Rendered:
    """A message's rows for one width and palette; `fold` is the row that folds its reasoning."""

    rows: list[Row]
    codes: list[Code] = field(default_factory=list)
    fold: int | None = None


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
    return rows + bool(entry.note)


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
    page = _Page(entry, width, palette)
    if entry.reasoning:
        page.reasoning(entry.reasoning, "open" if unfolded else "folded", seconds)
    body = Renderer(page.width, palette, page.margin, colours)
    text = visible(entry.text)
    if entry.role == "assistant":
        body.markdown(text)
    elif text:
        body.plain(text, palette["notice" if entry.role == "notice" else "text"])
    page.body(body.rows, body.codes)
    page.note(entry.note)
    return page.rendered


class Live:
    """An answer that is still being written. `update` takes all of its text so far."""

    def __init__(self, width: int, palette: Palette) -> None:
        self._width = width
        self._palette = palette
        self._raw = ""
        self._safe = ""
        self._markdown = self._fresh()

    def _fresh(self) -> LiveMarkdown:
        margin = Prefix(MARGIN, self._palette["text"], decoration=True)
        return LiveMarkdown(text_width(self._width), self._palette, margin)

    def update(self, entry: Entry, unfolded: bool, seconds: float | None) -> Rendered:
        """Its rows now; `seconds` is how long it thought, None while it still does."""
        if not entry.text.startswith(self._raw):
            self._raw = self._safe = ""
            self._markdown = self._fresh()
        self._safe += visible(entry.text[len(self._raw) :])
        self._raw = entry.text
        self._markdown.update(self._safe)
        page = _Page(entry, self._width, self._palette)
        if entry.reasoning:
            form: Form = "open" if unfolded else "folded" if self._safe else "thinking"
            page.reasoning(entry.reasoning, form, seconds)
        page.body(self._markdown.rows, self._markdown.codes)
        page.note("")
        return page.rendered


class Shown:
    """An entry in the transcript: how it is shown now, and what it was rendered to."""

    __slots__ = ("_live", "answered", "began", "entry", "exact", "rendered", "serial", "streaming", "unfolded")

    def __init__(self, entry: Entry, serial: int) -> None:
        self.entry = entry
        self.serial = serial
        self.rendered: Rendered | None = None
        self.exact = False
        """Whether its height is known and no estimate."""
        self.unfolded = False
        self.streaming = False
        self.began: float | None = None
        self.answered: float | None = None
        """When a live answer's reasoning and its answer began, by the monotonic clock."""
        self._live: Live | None = None

    def render(self, width: int, palette: Palette, *, colours: bool = True) -> Rendered:
        """Its rows, made anew; of a live answer only what has changed."""
        seconds = None if self.began is None or self.answered is None else self.answered - self.began
        if self.streaming:
            self._live = self._live or Live(width, palette)
            return self._live.update(self.entry, self.unfolded, seconds)
        return render(self.entry, width, palette, unfolded=self.unfolded, seconds=seconds, colours=colours)

    def forget(self) -> None:
        """Width, palette or text are others now."""
        self.rendered = self._live = None


class _Page:
    """The rows of a message in the making, from top to bottom."""

    def __init__(self, entry: Entry, width: int, palette: Palette) -> None:
        self.width = text_width(width)
        self._palette = palette
        left, part = (BAR, "user-bar") if entry.role == "user" else (MARGIN, "text")
        self.margin = Prefix(left, palette[part], decoration=True)
        self.rendered = Rendered([])
        heading = visible(entry.heading).replace("\n", " ")
        if heading:
            self._flow(heading, palette[entry.role])

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
        self._flow(f"{'▸' if form == 'folded' else '▾'} {title}", self._palette["fold"])
        if form != "folded":
            bar = Segment("┊ ", self._palette["reasoning-bar"])
            runs = [(visible(text.strip()), self._palette["reasoning"])]
            found = [
                Row([self.margin.rest, bar, *segments], 4, 4 + _letters(segments), join)
                for segments, join in flow(runs, self.width - 4)
            ]
            rows += found[-THINKING_ROWS:] if form == "thinking" else found
        rows.append(self._blank())

    def body(self, rows: list[Row], codes: list[Code]) -> None:
        above = len(self.rendered.rows)
        self.rendered.rows += rows
        self.rendered.codes = [Code(code.first + above, code.last + above, code.text) for code in codes]

    def note(self, note: str) -> None:
        """How it ended, if there is something to say, and the blank row between messages."""
        if note:
            if self.rendered.rows:
                self.rendered.rows.append(self._blank())
            sign, part = ("■", "note") if note in ENDINGS else ("✗", "error")
            self._flow(f"{sign} {visible(note)}", self._palette[part])
        self.rendered.rows.append(self._blank())

    def _flow(self, text: str, style: Style) -> None:
        for segments, join in flow([(text, style)], self.width - self.margin.cells):
            row = Row([self.margin.rest, *segments], 2, 2 + _letters(segments), join)
            self.rendered.rows.append(row)

    def _blank(self) -> Row:
        return Row([], 0, 0)


def _letters(segments: list[Segment]) -> int:
    return sum([len(segment.text) for segment in segments])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{max(rest, 1)} s"
