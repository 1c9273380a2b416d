"""Where conversations are kept: on disk, or, while the program runs, in memory alone.

Ids tell which: those of the store in memory begin above every id on disk. Knows no screen.
"""

from collections.abc import Sequence

from app.chat.failures import ChangedError
from app.chat.store import Conversation, Message, Store


class Stores:
    """The store on disk, and beside it one in memory from the first temporary conversation on."""

    def __init__(self, disk: Store) -> None:
        self.disk = disk
        self._memory: Store | None = None

    @property
    def memory(self) -> Store:
        """What is never written to disk, and gone when the program ends."""
        if self._memory is None:
            self._memory = Store.temporary()
        return self._memory

    def of(self, id: int) -> Store:
        """The store that holds the conversation or message with this id."""
        return self.memory if self.is_temporary(id) else self.disk

    @staticmethod
    def is_temporary(id: int) -> bool:
        return id > Store.TEMPORARY

    def conversations(self) -> list[Conversation]:
        """All of them, the one in which something was last said first."""
        found = self.disk.conversations()
        if self._memory is not None:
            found = sorted(found + self._memory.conversations(), key=lambda one: one.updated, reverse=True)
        return found

    def check_seen(self, seen: Sequence[Message]) -> None:
        """ChangedError where `seen`, messages that follow each other, have other words by now, or are gone."""
        if not seen:
            return
        last = seen[-1]
        now = self.of(last.id).branch(last.conversation, last.id)[-len(seen) :]
        if [(one.content, one.reasoning) for one in now] != [(one.content, one.reasoning) for one in seen]:
            raise ChangedError("An answer here has other words now, from another window; read it, then do that again.")

    def close(self) -> None:
        """Let go of what is in memory; the store on disk is its opener's to close."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
