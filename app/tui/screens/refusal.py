"""A whole window for one sentence: the conversations cannot be opened. Nothing is touched, any key leaves."""

import sys
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from app.assets import asset
from app.chat.text import visible


class RefusalApp(App[None]):
    """Says why Quietly cannot open, and ends."""

    TITLE = "Quietly"
    CSS_PATH = asset("styles/refusal.tcss")
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,escape,enter,q", "quit", "Quit", show=False, priority=True, id="refusal.quit"),
    ]

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self._sentence = sentence

    def compose(self) -> ComposeResult:
        yield Static(
            Content.assemble(
                ("Quietly cannot open its conversations\n\n", "bold $text-error"),
                visible(self._sentence),
                ("\n\nNothing was changed. Press any key to leave.", "$foreground 60%"),
            ),
            id="refusal",
        )

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.exit()


def refuse(sentence: str) -> int:
    """Show `sentence` until a key is pressed; returns the exit status, 1."""
    RefusalApp(sentence).run()
    # The window took it along; whoever wants to act on it needs it to stay.
    print(visible(sentence), file=sys.stderr)
    return 1
