"""Sections of sentences and tables on the page, laid out anew for every width. What they are about it does not know."""

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.widgets import Static

from app.inspecting.told import Drawn, Section, Source, Table, Words, laid

_STYLES = {"plain": "", "bold": "bold", "dim": "dim"}


def content(parts: Sequence[Words | Table | Drawn | Source], width: int) -> Content:
    """These parts in `width` cells."""
    return Content("\n").join(Content.styled(line.text, _STYLES[line.tone]) for line in laid(parts, width))


class Laid(Static):
    """Parts, or whole sections with their titles, as wide as there is room."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._parts: Sequence[Words | Table | Drawn | Source] = ()

    def show(self, parts: Sequence[Words | Table | Drawn | Source]) -> None:
        """Show these in place of what was there."""
        self._parts = parts
        self._lay()

    def show_sections(self, sections: Sequence[Section]) -> None:
        """Show these, each under its title, an empty line between two."""
        parts: list[Words | Table | Drawn | Source] = []
        for section in sections:
            parts += [*([Words("")] if parts else []), Words(section.title, "bold"), *section.parts]
        self.show(parts)

    def on_resize(self, event: events.Resize) -> None:
        self._lay()

    def _lay(self) -> None:
        if self.size.width:
            self.update(content(self._parts, self.size.width))
