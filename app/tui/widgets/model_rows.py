"""A list of models whose rows have keys of their own: the sidebar's, and the library's. It knows no models: what a key
asks for is posted with the row's own key."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from app.tui.widgets.rows import Rows


class ModelRows(Rows):
    """Rows of models. Enter does what comes first with one, a letter something else, M lists everything."""

    TAIL = "⋯"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace,d", "ask('remove')", "Delete", show=False, id="models.remove"),
        Binding("space", "ask('pause')", "Pause or go on", show=False, id="models.pause"),
        Binding("i", "ask('inspect')", "Inspect", show=False, id="models.inspect"),
        Binding("w", "ask('tokens')", "Words as tokens", show=False, id="models.tokens"),
        Binding("s", "ask('tune')", "Settings", show=False, id="models.tune"),
        Binding("q", "ask('quantise')", "Quantise", show=False, id="models.quantise"),
        Binding("x", "ask('unload')", "Unload", show=False, id="models.unload"),
        Binding("m", "ask('menu')", "Everything else", show=False, id="models.menu"),
    ]

    class Asked(Message):
        """Something is to be done with the model of a row; `act` is the end of a binding's id."""

        def __init__(self, act: str, key: str) -> None:
            super().__init__()
            self.act, self.key = act, key

    def action_ask(self, act: str) -> None:
        if (key := self.under_cursor()) is not None:
            self.post_message(self.Asked(act, key))

    def clicked_aside(self) -> None:
        self.action_ask("menu")
