"""What a person keeps under names, and takes up again: the library of system prompts, the presets.

Taken by a name that is typed, or from a list; kept and removed from a menu. Knows neither what they are nor what is
done with them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

from app.chat.text import one_line
from app.tui.room import Room

_NAME = 40
"""Cells of a name in a sentence."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=Named)


class Kept(Generic[Item]):
    """One kind of them."""

    def __init__(
        self,
        room: Room,
        what: str,
        all: Callable[[], Sequence[Item]],
        detail: Callable[[Item], str],
        remove: Callable[[str], None],
    ) -> None:
        """`what` is the kind, such as preset; `detail` says in a line what one of them holds."""
        self._room = room
        self._what, self._all, self._detail, self._remove = what, all, detail, remove

    def use(self, name: str, act: Callable[[Item], object]) -> None:
        """Act on the one whose name contains `name`, or let the person choose."""
        kept = self._all()
        found = [one for one in kept if name.casefold() in one.name.casefold()]
        exact = [one for one in found if one.name.casefold() == name.casefold()]
        if not kept:
            self._room.decline(f"No {self._what} is kept yet. Type /tune, where one is written and kept.")
        elif name and len(exact or found) == 1:
            act((exact or found)[0])
        else:
            self._choose(f"Use a {self._what}…", found or kept, act)

    def menu(self, use: Callable[[Item], object], keep: Callable[[str], object] | None) -> None:
        """What can be done: use one, keep what there is under a name, remove one. `keep` is None where there is
        nothing to keep."""
        from app.tui.screens.menu import Menu, MenuRow

        kept = self._all()
        acts: dict[str, Callable[[], None]] = {
            "use": partial(self._choose, f"Use a {self._what}…", kept, use),
            "keep": lambda: self._ask(keep),
            "remove": partial(self._choose, f"Remove a {self._what}…", kept, self._forget),
        }
        rows = [
            MenuRow("use", f"Use a {self._what}…", "u", bool(kept), "none is kept yet"),
            MenuRow("keep", f"Keep this {self._what} as…", "k", keep is not None, "it is empty"),
            MenuRow("remove", f"Remove a {self._what}…", "r", bool(kept), "none is kept yet"),
        ]

        def chosen(id: str | None) -> None:
            if id is not None:
                self._room.guarded(acts[id])

        self._room.app.push_screen(Menu(f"{self._what.capitalize()}s", rows), chosen)

    def _ask(self, keep: Callable[[str], object] | None) -> None:
        from app.tui.screens.asking import AskLine

        def named(name: str | None) -> None:
            if keep is None or name is None or not (name := name.strip()):
                return
            if self._room.guarded(lambda: keep(name)):
                self._room.say(f"Kept as “{one_line(name, _NAME)}”.")

        self._room.app.push_screen(AskLine(f"A name for this {self._what}", ""), named)

    def _forget(self, one: Item) -> None:
        if self._room.guarded(lambda: self._remove(one.name)):
            self._room.say(f"The {self._what} “{one_line(one.name, _NAME)}” is gone.")

    def _choose(self, question: str, kept: Sequence[Item], act: Callable[[Item], object]) -> None:
        from app.tui.palette import Choice, choose

        choose(
            self._room.app,
            question,
            [Choice(one.name, self._detail(one), partial(self._room.guarded, partial(act, one))) for one in kept],
        )
