"""Where a person writes: several lines, Enter sends, Ctrl+J or Shift+Enter begins a new line.

It knows nothing of conversations, files or models: it posts what was written, pasted or dropped, and is emptied by
whoever took it. What was asked before and which commands there are is given to it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import EditResult, Location, Selection

from app.chat.text import JOINERS, storable, visible
from app.errors import QuietlyError
from app.tui.following import in_place
from app.tui.widgets.completion import Command, matching

__all__ = ["Command", "Composer"]

LARGE = 8000
"""Characters above which what is pasted is offered as an attachment: more would be slow to edit and to read over."""
ENTER_BREAKS = {"composer.send": "ctrl+j,shift+enter,alt+enter", "composer.new_line": "enter"}
"""The keys of these bindings where Enter is to begin a new line instead of sending."""
_RECALLED = 40_000
"""Characters above which a prompt is left out when walking through what was asked before."""
_NAME = 40
"""Characters that a command's name has at most."""
_LOOK = 0.3
"""Seconds that a look at dropped files may take; a disk that is slower than that is asleep or gone."""


class Composer(TextArea):
    """A text area that grows with its text up to the limit the style sets."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", show=False, id="composer.send"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", show=False, id="composer.new_line"),
        Binding("up", "cursor_up", "Up, or asked before", show=False, id="composer.up"),
        Binding("down", "cursor_down", "Down, or asked later", show=False, id="composer.down"),
        Binding("tab", "complete", "Complete the command", show=False, id="composer.complete"),
        Binding("escape", "close_completions", "Close the commands", show=False, id="composer.close_completions"),
        Binding("alt+left,alt+b", "cursor_word_left", "Word left", show=False, id="composer.word_left"),
        Binding("alt+right,alt+f", "cursor_word_right", "Word right", show=False, id="composer.word_right"),
        Binding(
            "alt+shift+left,alt+shift+b",
            "cursor_word_left(True)",
            "Select word left",
            show=False,
            id="composer.select_word_left",
        ),
        Binding(
            "alt+shift+right,alt+shift+f",
            "cursor_word_right(True)",
            "Select word right",
            show=False,
            id="composer.select_word_right",
        ),
        Binding("alt+delete,alt+d", "delete_word_right", "Delete word", show=False, id="composer.delete_word_right"),
    ]

    class Submitted(Message):
        """The person wants `text` sent. The composer keeps it until told otherwise."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class LargePaste(Message):
        """`text` was pasted and is too long to stand here; nothing of it was inserted."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class PathsDropped(Message):
        """What was pasted, `text`, names existing files and nothing else; nothing of it was inserted."""

        def __init__(self, paths: tuple[Path, ...], text: str) -> None:
            super().__init__()
            self.paths, self.text = paths, text

    class Completing(Message):
        """The commands that what is typed may become, and the place of the highlighted one."""

        def __init__(self, commands: Sequence[Command], place: int) -> None:
            super().__init__()
            self.commands, self.place = commands, place

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            tab_behavior="focus",
        )
        self.large_paste = LARGE
        """Characters of a paste from which on, exclusively, it is offered as an attachment; 0: never."""
        self.hint("Enter", "Ctrl+J")
        self.commands: Sequence[Command] = ()
        """What may be typed instead of a prompt."""
        self.goes_empty = False
        """Whether it may be sent with nothing in it, because something goes along."""
        self.prompts: Sequence[str] = ()
        """What was asked before, newest first. (`history` is Textual's name for what can be undone.)"""
        self._walked: tuple[str, ...] = ()
        self._at = 0
        """How far back in `_walked`, 1 the newest; 0 is what the person is typing."""
        self._left: dict[int, tuple[str, Selection]] = {}
        """Each place of the walk as it was left, edited or not."""
        self._place = 0
        self._placed = ""
        """The word that `_place` is a place for."""
        self._shut = False
        self._shows_completions = False

    def hint(self, send: str, new_line: str) -> None:
        """Say which keys send and begin a new line, as people read them, where nothing is written yet."""
        self.send = send
        self._hints = (
            f"Ask anything   ({send} sends, {new_line} begins a new line)",
            f"Ask anything ({send} sends, {new_line} new line)",
        )
        self._show_hint()

    def _show_hint(self) -> None:
        width = self.content_size.width
        self.placeholder = Content(next((hint for hint in self._hints if cell_len(hint) <= width), "Ask anything"))

    def on_resize(self) -> None:
        self._show_hint()

    # --- sending ---

    def action_submit(self) -> None:
        if commands := self.completing():
            self.take_command(commands[self._highlighted()])
        elif self.text.strip() or self.goes_empty:
            self._tell(self.Submitted(self.text))

    def action_new_line(self) -> None:
        self._replace_via_keyboard("\n", *self.selection)

    def take(self, text: str) -> None:
        """Remove what was sent; what has been typed since stays."""
        if self.text.startswith(text):
            self.load_text(self.text[len(text) :])
            self.move_cursor(self.document.end)

    def give_back(self, text: str) -> None:
        """Let what was taken stand here again, above what has been typed since."""
        self.insert(f"{text}\n" if self.text else text, (0, 0))

    def load_text(self, text: str) -> None:
        """Put another text here; what could be undone, and the walk through earlier prompts, end with the old one."""
        self._at, self._shut = 0, False
        self._left.clear()
        super().load_text(visible(text))

    def insert(
        self, text: str, location: Location | None = None, *, maintain_selection_offset: bool = True
    ) -> EditResult:
        """Put `text` in, without what would act on the terminal: it may be a model's, or come from a clipboard."""
        return super().insert(visible(text), location, maintain_selection_offset=maintain_selection_offset)

    def _put(self, text: str, *, at_end: bool = True) -> None:
        """Replace all there is by `text`, as an edit that can be undone, the cursor at its end or its first row's."""
        self.history.checkpoint()
        self.replace(text, (0, 0), self.document.end, maintain_selection_offset=False)
        self.move_cursor(self.document.end if at_end else self.navigator.get_location_end((0, 0)))

    def _tell(self, message: Message) -> None:
        # In the composer's own name: what a widget above it posts by calling it would not get past that widget.
        self.post_message(message.set_sender(self))

    # --- keys ---

    async def _on_key(self, event: events.Key) -> None:
        # Bindings are looked up by the app, whose queue may be ahead of this one or behind it: an Enter right behind a
        # word or a backspace would send half of the word, or what was erased. Ours are acted on where the letters are.
        # Enter takes the command under the cursor also where it begins new lines otherwise.
        taking = event.key == "enter" and self.completing()
        for action in ["submit"] if taking else self._actions_of(event.key):
            if await self.app.run_action(action, self):
                event.prevent_default()
                event.stop()
                return
        if event.character in JOINERS:  # no letters, and so no keys to Textual
            event.prevent_default()
            event.stop()
            self.replace(event.character, *self.selection, maintain_selection_offset=False)
        elif event.key.startswith("alt+"):
            # Option with a letter that means nothing here is for the window, and no letter.
            event.prevent_default()

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
        if action in ("complete", "close_completions") and not self.completing():
            return False
        return super().check_action(action, parameters)

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.completing():
            self._highlight(-1)
            return
        first = self.navigator.is_first_wrapped_line(self.cursor_location)
        if select or not self.selection.is_empty or not first or not self._walk(1):
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.completing():
            self._highlight(1)
            return
        last = self.navigator.is_last_wrapped_line(self.cursor_location)
        if select or not self.selection.is_empty or not last or not self._walk(-1):
            super().action_cursor_down(select)

    def action_cursor_right(self, select: bool = False) -> None:
        if not select and self.cursor_at_end_of_text and self.completing():
            self.action_complete()
        else:
            super().action_cursor_right(select)

    # --- what was asked before ---

    def _walk(self, step: int) -> bool:
        """Go a step further back, or forward; False where there is nothing more."""
        if self._at == 0:
            self._walked = tuple(prompt for prompt in self.prompts if len(prompt) <= _RECALLED)
        at = self._at + step
        if not 0 <= at <= len(self._walked):
            return False
        self._left[self._at] = (self.text, self.selection)
        self._at = at
        text, selection = self._left.get(at) or (visible(self._walked[at - 1]), None)
        self._put(text, at_end=step < 0)
        if at == 0 and selection is not None:
            self.selection = selection
        return True

    # --- commands ---

    def completing(self) -> list[Command]:
        """The commands that what is typed may become; none where it is no beginning of a command."""
        if self._shut or (word := self._word()) is None:
            return []
        if self._at and word == self._walked[self._at - 1]:
            return []  # the arrows are walking through earlier prompts
        return matching(self.commands, word)

    def _word(self) -> str | None:
        """What is typed where that is one word beginning with a slash."""
        if self.document.line_count != 1 or not (line := self.document[0]).startswith("/"):
            return None
        return line if len(line) <= _NAME and not any(map(str.isspace, line)) else None

    def _highlighted(self) -> int:
        return self._place if self._placed == self.document[0] else 0

    def _highlight(self, step: int) -> None:
        commands = self.completing()
        self._place = (self._highlighted() + step) % len(commands)
        self._placed = self.document[0]
        self._tell(self.Completing(commands, self._place))

    def action_complete(self) -> None:
        """Write the highlighted command out; with an argument to come, the cursor goes where it begins."""
        command = self.completing()[self._highlighted()]
        self._put(f"{command.name} " if command.argument else command.name)

    def action_close_completions(self) -> None:
        """Hide the commands until another word is begun."""
        self._shut = True
        self._tell_completions()

    def take_command(self, command: Command) -> None:
        """Send `command`; where it may have an argument and is not written out yet, write it out instead."""
        whole = not command.argument or self._word() == command.name
        self._put(command.name if whole else f"{command.name} ")
        if whole:
            self._tell(self.Submitted(command.name))
        self.focus()

    def _tell_completions(self) -> None:
        commands = self.completing()
        if commands or self._shows_completions:
            self._shows_completions = bool(commands)
            self._tell(self.Completing(commands, self._highlighted()))

    def on_text_area_changed(self) -> None:
        if self._word() is None:
            self._shut = False
        self._tell_completions()

    # --- what comes from elsewhere ---

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        if paths := await _dropped(event.text):
            self._tell(self.PathsDropped(paths, event.text))
        else:
            self._paste(event.text)

    def action_paste(self) -> None:
        self._paste(self.app.clipboard)

    def _paste(self, text: str) -> None:
        # Clipboards carry other systems' line ends, and control characters that a terminal must not be sent.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if 0 < self.large_paste < len(text):
            self._tell(self.LargePaste(storable(text)))
        elif result := self._replace_via_keyboard(visible(text), *self.selection):
            self.move_cursor(result.end_location)
            self.focus()

    def action_edit_outside(self) -> None:
        """Let the person write in $VISUAL or $EDITOR, and take over what they wrote."""
        in_place(self.app, "editor", self._edit_outside)

    async def _edit_outside(self) -> None:
        from app.tui.outside import edit

        try:
            written = await edit(self.app, self.text)
        except QuietlyError as error:
            self.app.notify(str(error), severity="error", timeout=10, markup=False)
            return
        if written == self.text:
            return
        if len(written) > _RECALLED:
            self._tell(self.LargePaste(storable(written)))
        else:
            self._put(visible(written))


async def _dropped(text: str) -> tuple[Path, ...]:
    """The files that `text` names where it does nothing else."""
    from app.tui.dropped import files, named

    if not (candidates := named(text)):
        return ()
    try:
        return await asyncio.wait_for(asyncio.to_thread(files, candidates), _LOOK)
    except TimeoutError:
        return ()
