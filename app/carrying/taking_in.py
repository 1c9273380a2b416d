"""Conversations taken into a store, each whole or not at all; what is there already is not doubled.

Knows no format.
"""

from collections.abc import Callable, Iterable, Sized
from typing import TYPE_CHECKING

import msgspec

from app.carrying.tale import Tale

if TYPE_CHECKING:
    from app.chat.store import Store


class TakenIn(msgspec.Struct, frozen=True):
    """What came of it."""

    added: tuple[int, ...]
    """The conversations that are new in the store."""
    already: int
    """How many were there."""


def take_in(
    store: "Store", tales: Iterable[Tale], progress: Callable[[int, int], None] = lambda done, total: None
) -> TakenIn:
    """Take the conversations in, in their order, each in a transaction of its own.

    `progress` hears how many are done of how many, 0 where that is not known: before each, and at the end. What it
    raises ends the import, as does an error in reading; what was taken in by then stays, and taking the same in again
    adds the rest.
    """
    added: list[int] = []
    already = 0
    total = len(tales) if isinstance(tales, Sized) else 0
    for tale in tales:
        progress(len(added) + already, total)
        new = store.take_in(tale.conversation, tale.messages)
        if new is None:
            already += 1
        else:
            added.append(new)
    progress(len(added) + already, total)
    return TakenIn(tuple(added), already)
