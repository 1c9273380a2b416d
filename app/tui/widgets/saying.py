"""The lines around the composer that say something: what it is for just now, and how much is typed.

They know nothing of conversations, models or tokens: they are told finished words. Their styles are here and not in a
file because the window's first frame is painted before they are made.
"""

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static


class Banner(Static):
    """A line that says what the composer is for just now. Hidden where it is for the next message."""

    DEFAULT_CSS = """
    Banner {
        height: 1;
        margin: 0 2;
        color: $text-accent;
        text-style: italic;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, text: str) -> None:
        """Say `text`; the empty text hides the line."""
        self.display = bool(text)
        self.update(Content(text))


class Tally(Static):
    """How many tokens are typed and left, or a warning.

    A few quiet words stand in the lower border of `host`; what is longer, and what warns, gets a row of its own.
    """

    DEFAULT_CSS = """
    Tally {
        height: auto;
        max-height: 2;
        padding: 0 2;
        color: $text-muted;
        text-align: right;
        &.-warning { color: $text-warning; text-align: left; max-height: 4; }
        &:ansi { text-style: dim; }
        &:ansi.-warning { text-style: bold; }
    }
    """

    def __init__(self, host: Widget, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._host = host
        self._text, self._warning = "", False
        self.display = False

    def show(self, text: str, warning: bool = False) -> None:
        """Say `text`, plainly or as a warning; the empty text hides it."""
        if (text, warning) != (self._text, self._warning):
            self._text, self._warning = text, warning
            self._settle()

    def settle(self) -> None:
        """Look again where there is room, after the width has changed."""
        self._settle()

    def _settle(self) -> None:
        inside = bool(self._text) and not self._warning and len(self._text) <= self._host.size.width - 4
        self._host.border_subtitle = Content(self._text) if inside else ""
        self.display = bool(self._text) and not inside
        self.set_class(self._warning, "-warning")
        self.update(Content(f"! {self._text}" if self._warning else self._text))
