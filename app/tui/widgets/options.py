"""A list to choose from, whose rows are data: never parsed as markup.

Textual 8.2.8 looks for the line of the highlighted row before it has laid out any
(`OptionList._move_page`, KeyError): a page key that is pressed so early is let go.
"""

import contextlib

from textual._widget_navigation import Direction
from textual.widgets import OptionList


class Options(OptionList):
    """A list that is compact, and patient with quick fingers."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, markup=False)

    def _move_page(self, direction: Direction) -> None:
        with contextlib.suppress(KeyError):
            super()._move_page(direction)
