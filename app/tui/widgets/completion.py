"""The commands that a word beginning with "/" may become, and the list that shows them above the composer.

It knows neither what a command does nor what is typed around it: the composer keeps the place in the list, and
whoever stands above both tells the list what to show.
"""

from collections.abc import Sequence

import msgspec
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from app.chat.text import one_line


class Command(msgspec.Struct, frozen=True):
    """Something that may be typed. An `argument` names what a person types after it, such as "word"."""

    name: str
    """With its slash: /find"""
    says: str
    argument: str = ""


def matching(commands: Sequence[Command], typed: str) -> list[Command]:
    """Those of `commands` that `typed` may become: the one it is, then those it begins, then those it is part of."""
    sought = typed.casefold()

    def rank(command: Command) -> int:
        name = command.name.casefold()
        if name == sought:
            return 0
        if name.startswith(sought):
            return 1
        return 2 if sought.removeprefix("/") in name else 3

    ranked = [(rank(command), index) for index, command in enumerate(commands)]
    return [commands[index] for place, index in sorted(ranked) if place < 3]


class CompletionList(OptionList, can_focus=False):
    """The commands that fit, one a row. The keys are the composer's; the mouse may choose here."""

    class Chosen(Message):
        """A row was clicked."""

        def __init__(self, command: Command) -> None:
            super().__init__()
            self.command = command

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, compact=True, markup=False)
        self._commands: list[Command] = []
        self.display = False

    def show(self, commands: Sequence[Command], place: int) -> None:
        """Show `commands` with the one at `place` highlighted; none of them hides the list."""
        if list(commands) != self._commands:
            self._commands = list(commands)
            wide = max((len(_typed(command)) for command in commands), default=0)
            self.set_options([Option(_row(command, wide)) for command in commands])
        self.display = bool(self._commands)
        self.highlighted = place if self._commands else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._commands[event.option_index]))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()


def _typed(command: Command) -> str:
    return f"{command.name} {command.argument}" if command.argument else command.name


def _row(command: Command, wide: int) -> Content:
    name = f"{command.name} "
    argument = command.argument.ljust(wide - len(name))
    says = one_line(command.says, 200)
    if not command.argument:
        return Content.assemble((f"{name}{argument}   ", "bold"), says)
    return Content.assemble((name, "bold"), f"{argument}   {says}")
