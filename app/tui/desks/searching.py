"""Searching all conversations: between the search screen, the store on disk and what is in view."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from app import words
from app.tui.following import aside
from app.tui.room import Room

if TYPE_CHECKING:
    from app.chat.search import Search
    from app.tui.desks.conversations import Act, Conversations
    from app.tui.desks.finding import Finding
    from app.tui.screens.searching import Looked, Place


class Searching:
    """The way to any conversation, by its title or by what was said in it."""

    def __init__(self, room: Room, conversations: "Conversations", finding: "Finding") -> None:
        self._room, self._conversations, self._finding = room, conversations, finding
        self.acts: dict[str, Act] = {"conversation.find": self.open}

    def open(self, query: str) -> None:
        """Open the search, at `query` where one was typed."""
        from app.chat.search import Search
        from app.tui.screens.searching import SearchScreen

        room = self._room
        search = Search.open(room.stores.disk.path)

        def chosen(place: "Place | None") -> None:
            # Aside, and behind a look that is still ending.
            aside(room.app, partial(asyncio.to_thread, search.close))
            if place is not None:
                room.guarded(partial(self.go_to, place))

        screen = SearchScreen(
            room.rows(), partial(self._look, search), search.interrupt, lambda at: words.day(at, room.today()), query
        )
        room.app.push_screen(screen, chosen)

    def _look(self, search: "Search", typed: str) -> "Looked":
        from app.chat.search import parse
        from app.tui.screens.searching import Looked

        # One step, the newest first: after an update it takes seconds until all that was ever said is in the index.
        waiting = self._room.stores.disk.catch_up()
        return Looked(search.find(parse(typed, self._room.today())), waiting)

    def go_to(self, place: "Place") -> None:
        """Bring the conversation into view, at the message and its words where there are some."""
        room, message = self._room, place.message
        store = room.stores.of(place.conversation)
        if message is not None and all(known.id != message for known in store.branch(place.conversation)):
            if room.conductor.live(place.conversation) is not None:
                room.say("An answer is being written in another branch there. Press Esc to stop it, and search again.")
                message = None
            else:
                store.switch(place.conversation, message)
                if room.current == place.conversation:
                    room.reread(message)
        self._conversations.open(place.conversation)
        if message is not None and room.current == place.conversation:
            # Once the page has its size.
            room.screen.call_after_refresh(self._show, message, place.words)

    def _show(self, message: int, found: str) -> None:
        transcript = self._room.transcript
        transcript.set_current(message)
        transcript.jump_to(message)
        if found:
            self._finding.open(found)
        else:
            transcript.focus()
