"""What was deleted in this run, and how it comes back: from memory, since nothing of it is in the file any more."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.chat.store import Removed, Store
from app.tui.following import aside
from app.tui.room import Room

if TYPE_CHECKING:
    from app.tui.desks.conversations import Act

KEPT = 20
"""Deletions that can be undone, the latest first."""


class Undo:
    """A pile of deletions."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pile: list[tuple[str, Store, Removed, Callable[[], None]]] = []
        self.acts: dict[str, Act] = {"edit.undo": lambda _: self.undo()}

    def offer(self, what: str, store: Store, removed: Removed, then: Callable[[], None]) -> None:
        """`what` has just been removed from `store`; say so, and how it comes back. `then` shows it again."""
        self._pile.append((what, store, removed, then))
        if len(self._pile) > KEPT:
            _, of, oldest, _ = self._pile.pop(0)
            # Aside: it goes from the backups too.
            aside(self._room.app, partial(asyncio.to_thread, of.forget, oldest))
        self._room.say(f"Deleted {what}. /undo brings it back while this window is open.")

    def undo(self) -> None:
        """Bring back what was deleted last. QuietlyError where it cannot be: then it can be tried again."""
        if not self._pile:
            self._room.decline("There is nothing to bring back.")
            return
        what, store, removed, then = self._pile[-1]
        if self._room.conductor.live(removed.conversation) is not None:
            # What comes back takes the conversation to where it stood, away from the answer.
            self._room.decline("An answer is being written there. Undo again when it has ended.")
            return
        store.restore(removed)
        self._pile.pop()
        then()
        self._room.app.clear_notifications()  # that it was deleted is not true any more
        self._room.say(f"{what[:1].upper()}{what[1:]} is back.")
