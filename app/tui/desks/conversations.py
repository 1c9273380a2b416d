"""Conversations: open, begin, name, pin, delete and bring back."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.chat.store import Draft
from app.chat.text import one_line
from app.errors import QuietlyError
from app.tui import telling
from app.tui.room import Room

if TYPE_CHECKING:
    from app.tui.desks.carrying import Carrying
    from app.tui.desks.undo import Undo
    from app.tui.desks.writing import Writing

Act = Callable[[str], object]
"""Does something, given what was typed behind its command; what it returns is awaited where it can be."""


class Conversations:
    """The conversation in view, and the way to the others."""

    def __init__(self, room: Room, writing: "Writing", carrying: "Carrying", undo: "Undo") -> None:
        self._room, self._writing, self._carrying, self._undo = room, writing, carrying, undo
        self.acts: dict[str, Act] = {
            "conversation.new": lambda _: self.open(None, temporary=self._begins_temporary(None)),
            "conversation.temporary": lambda _: self.open(None, temporary=True),
            "conversation.rename": self._rename_current,
            "conversation.pin": lambda _: self._with_current(self.pin),
            "conversation.delete": lambda _: self._with_current(self.delete),
        }

    def open(self, conversation: int | None, *, temporary: bool = False) -> None:
        """Bring a conversation into view; None is an empty page."""
        room = self._room
        if conversation != room.current or temporary != room.temporary:
            try:
                self.bring(conversation, temporary)
            except QuietlyError as error:
                room.refused(error)
        self._writing.focus()

    def bring(self, conversation: int | None, temporary: bool = False) -> None:
        """Bring a conversation into view, with what was being written in it. QuietlyError where it cannot be read."""
        self._writing.leave()
        self._show(conversation, self._writing.stored(conversation, temporary), temporary)

    def bring_first(self, conversation: int | None) -> None:
        """Bring the first one into view; what was typed before it could be stays, behind its draft."""
        composer, temporary = self._room.area.composer, self._begins_temporary(conversation)
        typed = composer.text
        self._show(conversation, self._writing.stored(conversation, temporary), temporary)
        composer.insert(typed)

    def _begins_temporary(self, conversation: int | None) -> bool:
        """Whether this is an empty page on which a temporary chat begins, as the person has set it."""
        return conversation is None and self._room.settings.temporary

    def _show(self, conversation: int | None, draft: Draft, temporary: bool = False) -> None:
        room = self._room
        room.read(conversation)
        room.temporary = temporary
        self._writing.enter(draft)
        room.show_page()
        room.tell_conversations()
        room.tell()

    def _with_current(self, act: Callable[[int], None]) -> None:
        if self._room.current is None:
            self._room.decline("There is no conversation yet; write something first.")
        else:
            act(self._room.current)

    def menu(self, conversation: int) -> None:
        """Everything that can be done with one conversation of the list."""
        from app.tui.screens.menu import Menu, MenuRow

        room = self._room
        record = room.stores.of(conversation).conversation(conversation)
        acts: dict[str, Callable[[int], None]] = {
            "open": self.open,
            "rename": self.rename,
            "pin": self.pin,
            "export": self._carrying.export,
            "delete": self.delete,
        }
        rows = [
            MenuRow("open", "Open", "o"),
            MenuRow("rename", "Rename…", "r"),
            MenuRow("pin", "Unpin" if record.pinned else "Pin", "p"),
            MenuRow("export", "Export", "e"),
            MenuRow("delete", "Delete", "d,delete"),
        ]

        def chosen(id: str | None) -> None:
            if id is not None:
                room.guarded(lambda: acts[id](conversation))

        room.app.push_screen(Menu(one_line(record.title or telling.UNTITLED, 40), rows), chosen)

    # --- name and place ---

    def _rename_current(self, title: str) -> None:
        self._with_current(partial(self.rename, title=title))

    def rename(self, conversation: int, title: str = "") -> None:
        """Give it `title`, or ask for one."""
        from app.tui.screens.asking import AskLine

        room = self._room
        store = room.stores.of(conversation)

        def renamed(title: str | None) -> None:
            if title is None or not title.strip():
                return
            name = title.strip()

            def rename() -> None:
                store.rename(conversation, name)
                self.named(conversation)

            room.guarded(rename)

        if title:
            renamed(title)
        else:
            old = one_line(store.conversation(conversation).title, 200)
            room.app.push_screen(AskLine("Rename the conversation", old), renamed)

    def named(self, conversation: int) -> None:
        """A conversation has another title."""
        self._room.tell_conversations()
        if conversation == self._room.current:
            self._room.show_page()

    def pin(self, conversation: int) -> None:
        """Keep it on top of the list, or no longer."""
        store = self._room.stores.of(conversation)

        def pin() -> None:
            store.pin(conversation, not store.conversation(conversation).pinned)
            self.named(conversation)

        self._room.guarded(pin)

    # --- deletion ---

    def delete(self, conversation: int) -> None:
        """Remove it with all its messages; undo brings it back while the program runs."""
        room = self._room
        store = room.stores.of(conversation)
        record = store.conversation(conversation)
        in_view = conversation == room.current
        if in_view:
            self._writing.leave()
        temporary = self._begins_temporary(None)
        draft = self._writing.stored(None, temporary) if in_view else Draft()
        # First: where it is refused, the answers in it are written on.
        removed = store.remove_conversation(conversation)
        room.conductor.forget(conversation)
        if in_view:
            self._show(None, draft, temporary)
        else:
            room.tell_conversations()
        self._undo.offer(
            f"“{one_line(record.title or telling.UNTITLED, 40)}”", store, removed, lambda: self.open(conversation)
        )
