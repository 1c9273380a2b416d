"""The command palette, and lists to search and choose from in it. What is listed is data: never parsed as markup."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from app.chat.text import one_line
from app.tui.screens.guarded import GuardedScreen


class Palette(CommandPalette, GuardedScreen[Any]):
    """Textual's palette, which may be left only once.

    Textual 8.2.8 leaves it a second time where Enter is pressed while it is still searching, and the program ends by
    that (`CommandPalette._select_or_command`, ScreenStackError). And as any list of options it cannot be paged through
    before it is laid out: see `app.tui.widgets.options`.
    """

    def _action_command_list(self, action: str) -> None:
        with contextlib.suppress(KeyError):
            super()._action_command_list(action)


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
                    yield Hit(score, _shown(matcher.highlight(name), choice), choice.act, text=name)

    app.push_screen(Palette(providers=[Choices], placeholder=placeholder))


def _shown(name: Content, choice: Choice) -> Content:
    # The palette reads `help` as markup, so the second line is part of the first.
    return Content.assemble(name, "\n", (one_line(choice.detail, 80), "$foreground 60%"))
