"""A message as it stands in the transcript: its entry, how it is shown now, and what it was rendered to.

Also the live form of an answer, of which only what has changed is rendered again. Knows nothing of scrolling.
"""

from app.chat.text import visible
from app.tui.markdown.live import LiveMarkdown
from app.tui.markdown.render import Prefix
from app.tui.markdown.rows import Palette
from app.tui.widgets.message import MARGIN, Entry, Form, Page, Rendered, render, text_width


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
        page = Page(entry, self._width, self._palette)
        if entry.reasoning:
            form: Form = "open" if unfolded else "folded" if self._safe else "thinking"
            page.reasoning(entry.reasoning, form, seconds)
        page.body(self._markdown.rows, self._markdown.codes)
        page.note("", False)
        return page.rendered


class Shown:
    """An entry in the transcript: how it is shown now, and what it was rendered to."""

    __slots__ = ("_live", "answered", "began", "entry", "exact", "rendered", "serial", "streaming", "unfolded")

    def __init__(self, entry: Entry, serial: int, unfolded: bool = False) -> None:
        self.entry = entry
        self.serial = serial
        self.rendered: Rendered | None = None
        self.exact = False
        """Whether its height is known and no estimate."""
        self.unfolded = unfolded
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
