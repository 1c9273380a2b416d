"""The command palette, and lists to search and choose from in it. What is listed is data: never parsed as markup."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Command, CommandInput, CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import Matcher
from textual.widgets import OptionList
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from app.chat.text import one_line
from app.tui.screens.guarded import GuardedScreen


class Palette(CommandPalette, GuardedScreen[Any]):
    """Textual's palette, for quick fingers: what is pressed is done in the list of what is typed, and done once.

    Textual 8.2.8 leaves the list of an earlier text standing until that of the next is whole, and Enter takes its first
    row (`CommandPalette._gather_commands`, `_select_or_command`); pressed twice, it acts or leaves twice. Here the keys
    that act in the list wait for the one of the text they were pressed for; typing on takes them back. And as any list
    of options it cannot be paged through before it is laid out: see `app.tui.widgets.options`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(keys, f"press('{act}')", show=False, priority=True)
        for keys, act in (
            ("enter", "select"),
            ("down", "cursor_down"),
            ("up", "cursor_up"),
            ("pagedown", "page_down"),
            ("pageup", "page_up"),
            ("ctrl+home", "first"),
            ("ctrl+end", "last"),
        )
    ]

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._gathering: Worker[Any] | None = None
        self._sought = ""
        """What is gathered, or was gathered last."""
        self._pressed: list[str] = []
        """What is to be done once the list is that of `_pressed_for`."""
        self._pressed_for = ""

    @property
    def _typed(self) -> str:
        return self.query_one(CommandInput).value.strip()

    # --- the list ---

    def _gather_commands(self, search_value: str) -> Worker[Any]:
        if self._pressed_for != self._typed:
            self._pressed = []
        self._sought = search_value
        self._gathering = super()._gather_commands(search_value)
        return self._gathering

    def _refresh_command_list(self, command_list: CommandList, commands: list[Command], clear_current: bool) -> None:
        # They are sorted by score then, and where that is the same stay in this order: the very name comes first.
        name = self._sought.casefold()
        ordered = sorted(commands, key=lambda command: str(command.hit.text).rstrip("…").casefold() != name)
        super()._refresh_command_list(command_list, ordered, clear_current)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is self._gathering:
            self._do_what_was_pressed()

    # --- what is pressed in it ---

    def action_press(self, act: str) -> None:
        # Behind the letters that are still on their way to the line, before those that are typed next.
        (self.focused or self).call_later(self._press, act)

    def _press(self, act: str) -> None:
        if not self.is_active:
            return
        if self._pressed_for != self._typed:
            self._pressed_for, self._pressed = self._typed, []
        self._pressed.append(act)
        self._do_what_was_pressed()

    def _do_what_was_pressed(self) -> None:
        whole = self._gathering is not None and self._gathering.state is WorkerState.SUCCESS
        if self._pressed and whole and self._sought == self._pressed_for == self._typed:
            pressed, self._pressed = self._pressed, []
            for act in pressed:
                if act == "select":
                    self._take_highlighted()
                else:
                    self._action_command_list(act)

    def _action_command_list(self, action: str) -> None:
        with contextlib.suppress(KeyError):
            super()._action_command_list(action)

    def _take_highlighted(self) -> None:
        commands = self.query_one(CommandList)
        if commands.highlighted is not None:
            self._take(commands.get_option_at_index(commands.highlighted))

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.prevent_default()
        event.stop()
        self._take(event.option)

    def _take(self, option: Option) -> None:
        if isinstance(option, Command) and self.is_active:
            self._selected_command, self._list_visible = option.hit, False
            self._select_or_command()


@dataclass(frozen=True)
class Choice:
    """One thing to choose; `detail` stands below it."""

    name: str
    detail: str
    act: Callable[[], object]


def choose(app: App[Any], placeholder: str, choices: Sequence[Choice]) -> None:
    """Let the person search `choices` and act on one."""

    class Choices(Provider):
        async def discover(self) -> Hits:
            for choice in choices:
                name = one_line(choice.name)
                yield DiscoveryHit(_shown(Content(name), choice), choice.act, text=name)

        async def search(self, query: str) -> Hits:
            matcher = self.matcher(query)
            for choice in choices:
                name = one_line(choice.name)
                if (score := matcher.match(name)) > 0:
                    yield Hit(score, _shown(_marked(name, matcher), choice), choice.act, text=name)

    app.push_screen(Palette(providers=[Choices], placeholder=placeholder))


def _marked(name: str, matcher: Matcher) -> Content:
    # The matcher's own `highlight` reads names as markup.
    content = Content(name)
    for place in matcher.fuzzy_search.match(matcher.query, name)[1]:
        content = content.stylize(matcher.match_style, place, place + 1)
    return content


def _shown(name: Content, choice: Choice) -> Content:
    # The palette reads `help` as markup, so the second line is part of the first.
    return Content.assemble(name, "\n", (one_line(choice.detail, 80), "$foreground 60%"))
