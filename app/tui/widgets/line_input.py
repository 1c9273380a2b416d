"""A line to type into, as every question, search and filter has one.

Nothing in it acts on the terminal, wherever it came from: what is pasted is one line, without what hides in text. Of
what is too long for it the beginning is taken, and the person is told. What the line is for it does not know.
"""

from textual import events
from textual.widgets import Input

from app.chat.text import JOINERS, visible


class LineInput(Input):
    """One line of text, as safe and as short as it has to be."""

    _told = False
    """Whether it was said that the line is full, since it was."""

    def validate_value(self, value: str) -> str:
        """What stands here when somebody has `value` stand here."""
        return _cut(_on_one_line(value), self.max_length or len(value))

    def replace(self, text: str, start: int, end: int) -> None:
        """Put as much of `text` as fits there, and say so where that is not all."""
        text = _on_one_line(text)
        room = self.max_length - len(self.value) + abs(end - start) if self.max_length else len(text)
        super().replace(_cut(text, room), start, end)
        if len(text) <= room:
            self._told = False
            return
        self.restricted()
        if not self._told:
            self._told = True
            self.app.notify(
                f"This line is full: it takes {self.max_length:,} characters, and what is more was left out.",
                severity="warning",
                markup=False,
            )

    async def _on_key(self, event: events.Key) -> None:
        if event.character in JOINERS:
            event.stop()
            event.prevent_default()
            self.replace(event.character, *self.selection)

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self._paste(event.text)

    def action_paste(self) -> None:
        self._paste(self.app.clipboard)

    def _paste(self, text: str) -> None:
        self._told = False  # who pastes again is told again
        self.replace(text, *self.selection)


def _on_one_line(text: str) -> str:
    """`text` without what would act on the terminal; a line end or a tab, and what is blank around it, are a space."""
    lines = visible(text.replace("\r", "\n")).replace("\t", "\n").split("\n")
    return lines[0] if len(lines) == 1 else " ".join(filter(None, map(str.strip, lines)))


def _cut(text: str, length: int) -> str:
    """The first `length` characters of `text`, without a joiner that has nothing behind it any more."""
    return text if len(text) <= length else text[:length].rstrip("".join(JOINERS))
