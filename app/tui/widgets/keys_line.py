"""A line of short hints, such as which keys do what: as many as there is room for, the first before the others."""

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget

from app.words import Part, fitting

_GAP = " · "


def in_line(hints: Iterable[str], width: int) -> str:
    """Those of the hints that fit into `width` cells, each whole or not at all."""
    parts = [Part(hint, -place) for place, hint in enumerate(hints)]
    return _GAP.join(part.text for part in fitting(parts, width, len(_GAP)))


class KeysLine(Widget):
    """Which keys do what."""

    def __init__(self, *keys: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys = keys

    def render(self) -> Content:
        return Content(in_line(self._keys, self.content_size.width))
