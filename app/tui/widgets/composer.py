"""Where a person writes: several lines, Enter sends, Ctrl+J or Shift+Enter begins a new line.

It knows nothing of conversations: it posts what was written and is emptied by whoever took it.
"""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from app.chat.text import visible

PLACEHOLDER = "Ask anything   (Enter sends, Ctrl+J begins a new line)"


class Composer(TextArea):
    """A text area that grows with its text up to the limit the style sets."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", show=False, id="composer.send"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", show=False, id="composer.new_line"),
        Binding("alt+left,alt+b", "cursor_word_left", "Word left", show=False, id="composer.word_left"),
        Binding("alt+right,alt+f", "cursor_word_right", "Word right", show=False, id="composer.word_right"),
    ]

    class Submitted(Message):
        """The person wants `text` sent. The composer keeps it until told otherwise."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            id=id,
            compact=True,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            tab_behavior="focus",
            placeholder=PLACEHOLDER,
        )

    def action_submit(self) -> None:
        if self.text.strip():
            self.post_message(self.Submitted(self.text))

    def action_new_line(self) -> None:
        self.insert("\n")

    def take(self, text: str) -> None:
        """Remove what was sent; what has been typed since stays."""
        if self.text.startswith(text):
            self.load_text(self.text[len(text) :])
            self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        # Bindings are looked up by the app, whose queue may be ahead of this one or behind it: an Enter right behind a
        # word or a backspace would send half of the word, or what was erased. Ours are acted on where the letters are.
        for action in self._actions_of(event.key):
            if await self.app.run_action(action, self):
                event.prevent_default()
                event.stop()
                return

    def _actions_of(self, key: str) -> list[str]:
        """What `key` does here, as the keymap has it."""
        return [
            bound.action
            for node, bindings in self.screen._binding_chain
            if node is self
            for pressed, bound in bindings
            if pressed == key
        ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # With nothing written there is no line to go to the end of, so Ctrl+E is free for the window.
        if action == "cursor_line_end" and not self.text:
            return False
        return super().check_action(action, parameters)

    async def _on_paste(self, event: events.Paste) -> None:
        # Clipboards carry other systems' line ends, and control characters that a terminal must not be sent.
        event.prevent_default()
        event.stop()
        pasted = visible(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if result := self._replace_via_keyboard(pasted, *self.selection):
            self.move_cursor(result.end_location)
            self.focus()
