"""The line that narrows a list while one types in it. It knows no list: that the cursor is to move is posted."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from app.tui.widgets.line_input import LineInput


class FilterLine(LineInput):
    """Narrows a list by what is typed, and moves the list's cursor meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="filter.up"),
        Binding("down", "move(1)", "Down", show=False, id="filter.down"),
    ]

    class Moved(Message):
        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def action_move(self, step: int) -> None:
        self.post_message(self.Moved(step))
