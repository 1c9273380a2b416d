"""Conversations: begin, open, find, name, carry out and in, delete."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import TYPE_CHECKING, get_args

from app import words
from app.carrying.tale import Format
from app.chat.store import Conversation
from app.chat.text import one_line
from app.home import expanded
from app.plain.room import Room, titled

if TYPE_CHECKING:
    from app.carrying import TakenIn
    from app.chat.search import Found, Hit

_LISTED = 20
_FOUND = 10
_SURE = "delete"
_Report = Callable[[int, int], None]


class Conversations:
    """The way from one to another, and what can be done with one."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.acts: dict[str, Callable[[str], Awaitable[None]]] = {
            "/new": self._new,
            "/temporary": self._temporary,
            "/open": self._open,
            "/search": self._search,
            "/rename": self._rename,
            "/export": self._export,
            "/import": self._import,
            "/delete": self._delete,
        }

    def begin(self) -> None:
        """Go to where something was said last, unless conversations begin as temporary ones."""
        latest = None if self._room.temporary else self._room.stores.disk.latest()
        if latest is None:
            self._begin_anew(self._room.temporary)
        else:
            self._go_to(latest)

    def _begin_anew(self, temporary: bool) -> None:
        self._room.go_to(None, temporary=temporary)
        kept = ", of which nothing is written to disk" if temporary else ""
        self._room.say(f"This is a new conversation{kept}.")

    def _go_to(self, record: Conversation) -> None:
        self._room.go_to(record.id, temporary=self._room.stores.is_temporary(record.id))
        count = len(self._room.branch)
        messages = f"{count:,} {'message' if count == 1 else 'messages'}"
        self._room.say(f"This is conversation {record.id}, “{titled(record)}”, with {messages}. /read reads it.")
        draft = self._room.store.draft(record.id)
        for one in draft.attachments:
            self._room.say(f"{one_line(one.name, 60)} goes along with what you ask next.")
        if draft.text.strip():
            self._room.say("Something is begun here and not sent: /paste goes on with it.")

    async def _new(self, _: str) -> None:
        self._begin_anew(self._room.settings.temporary)

    async def _temporary(self, _: str) -> None:
        self._begin_anew(True)

    def _here(self) -> Conversation | None:
        """The conversation; where there is none yet the person is told."""
        record = self._room.record
        if record is None:
            self._room.say("There is no conversation yet; ask something first.")
        return record

    # --- going there ---

    async def _open(self, typed: str) -> None:
        room = self._room
        number = typed.split(" ")[0]
        if number.isdecimal():
            self._go_to(room.stores.of(int(number)).conversation(int(number)))
            return
        if typed:
            room.say("Say its number, as /open 3; /open alone lists them, and /search finds words.")
            return
        found, today = room.stores.conversations(), date.today()
        for record in found[:_LISTED]:
            kept = ", not stored" if room.stores.is_temporary(record.id) else ""
            room.say(f"{record.id}: {titled(record)}, {words.day(record.updated, today)}{kept}.")
        if len(found) > _LISTED:
            room.say(f"And {len(found) - _LISTED:,} older ones, which /search finds.")
        room.say("/open and a number goes there." if found else "There is no conversation yet; ask something first.")

    async def _search(self, typed: str) -> None:
        room = self._room
        typed = typed or await room.answer_to("Search for")
        if not typed:
            return
        found = await room.aside("Messages still to be indexed:", lambda report: self._find(typed, report))
        for hit in found.hits:
            room.say(_told(hit))
        if not found.hits:
            room.say("Nothing was found.")
        elif found.more:
            room.say("There is more; another word narrows it.")
        else:
            room.say("/open and a number goes there.")

    def _find(self, typed: str, report: _Report) -> "Found":
        from app.chat.search import Search, parse

        disk = self._room.stores.disk
        while waiting := disk.catch_up():
            report(waiting, 0)
        search = Search.open(disk.path)
        try:
            return search.find(parse(f"{typed} ", date.today()), _FOUND)
        finally:
            search.close()

    # --- one of them ---

    async def _rename(self, title: str) -> None:
        room = self._room
        record = self._here()
        if record is None:
            return
        if title := title or await room.answer_to("Its title"):
            room.store.rename(record.id, title)
            room.say(f"Conversation {record.id} is called “{titled(room.store.conversation(record.id))}” now.")

    async def _delete(self, _: str) -> None:
        room = self._room
        record = self._here()
        if record is None:
            return
        if await room.answer_to(f"Type {_SURE} to delete “{titled(record)}” for good") != _SURE:
            room.say("Nothing was deleted.")
            return
        store = room.store
        room.conductor.forget(record.id)
        await room.aside("Deleting", lambda _: store.delete(record.id))
        room.say(f"Deleted “{titled(record)}”.")
        self._begin_anew(room.settings.temporary)

    async def _export(self, typed: str) -> None:
        from app.carrying import export_one
        from app.exporting import export_folder

        room = self._room
        record = self._here()
        if record is None:
            return
        named: dict[str, Format] = {one: one for one in get_args(Format)}
        format = named.get(typed) if typed else room.settings.export_format
        if format is None:
            room.say(f"Say one of {', '.join(named)}, or nothing for {room.settings.export_format}.")
            return
        store, folder = room.store, export_folder(room.settings)
        path = await room.aside("Exporting", lambda _: export_one(store, record.id, folder, format))
        room.say(f"Exported to {path}")

    async def _import(self, typed: str) -> None:
        from app.carrying import read, take_in

        room = self._room
        typed = typed or await room.answer_to("Path of the file or folder")
        if not typed:
            return

        def work(report: _Report) -> "TakenIn":
            return take_in(room.stores.disk, read(expanded(typed)), report)

        taken = await room.aside("Importing", work)
        room.say(words.imported(len(taken.added), taken.already))


def _told(hit: "Hit") -> str:
    """A hit in one line."""
    title = one_line(hit.title, 60) or "Untitled"
    if hit.message is None:
        return f"{hit.conversation}: {title}, by its title."
    who = "you" if hit.role == "user" else one_line(hit.model or "the answer", 40)
    return f"{hit.conversation}: {title}. {who}: {hit.snippet}"
