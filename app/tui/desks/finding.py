"""Finding words in the conversation in view: between the find bar and the transcript."""

from typing import TYPE_CHECKING

from app.tui.room import Room

if TYPE_CHECKING:
    from app.tui.desks.conversations import Act
    from app.tui.widgets.find_bar import FindBar


class Finding:
    """The find bar's desk."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.acts: dict[str, Act] = {"page.find": self.open}

    @property
    def _bar(self) -> "FindBar":
        from app.tui.widgets.find_bar import FindBar

        return self._room.screen.query_one(FindBar)

    def open(self, query: str) -> None:
        """Open the bar, at `query` where one was typed."""
        from textual.widgets import Input

        if query:
            self._bar.query_one(Input).value = query
        self._bar.open()

    def changed(self, query: str) -> None:
        self._bar.show(*self._room.transcript.find(query))

    def step(self, step: int) -> None:
        self._bar.show(*self._room.transcript.find_step(step))

    def closed(self) -> None:
        self._room.transcript.end_find()
        self._room.area.composer.focus()
