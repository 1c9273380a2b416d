"""Two models, one question: both answers side by side, and the one to keep.

The answers are siblings in the conversation's tree like any others; whichever is not kept stays as a branch.
"""

from functools import partial
from typing import TYPE_CHECKING

from app import words
from app.chat.store import Message
from app.chat.text import one_line
from app.conducting.lives import Live
from app.errors import QuietlyError
from app.tui.following import aside
from app.tui.room import Room

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.messages import Messages
    from app.tui.desks.models import Models
    from app.tui.screens.comparing import Compare
    from app.tui.widgets.message import Entry


class Comparing:
    """The screen that shows both, while it is open."""

    def __init__(self, room: Room, models: "Models", messages: "Messages") -> None:
        self._room, self._models, self._messages = room, models, messages
        self._open: Compare | None = None
        self.acts: dict[str, Act] = {"message.compare": self.ask}

    def ask(self, name: str) -> None:
        """Let another model answer the question in question, beside the answer it has."""
        room = self._room
        message = self._messages.target()
        question = self._messages.question_of(message) if message is not None else None
        if question is None:
            room.decline("Ask something first; then another model can answer the same.")
            return
        if not self._messages.busy():
            self._models.pick("Who answers beside it?", name, partial(self._begin, question))

    def _begin(self, question: Message, model: "InstalledModel") -> None:
        aside(self._room.app, partial(self._side_by_side, question, model), "answers")

    async def _side_by_side(self, question: Message, other: "InstalledModel") -> None:
        """Show the answer in view beside a new one by `other`; where there is none yet, the chosen model gives it."""
        room = self._room
        first = next((message for message in room.branch if message.parent == question.id), None)
        try:
            if first is None or not first.content:
                own = self._models.chosen()
                if own is None:
                    return
                first = await room.conductor.answer(question, own)
            second = await room.conductor.answer(question, other)
        except QuietlyError as error:
            room.refused(error)
            if question.conversation == room.current:
                room.reread()  # the first may be under way
            return
        if question.conversation != room.current:
            return
        room.reread()
        self._show(question, (first, second))

    def _show(self, question: Message, answers: tuple[Message, ...]) -> None:
        from app.tui.screens.comparing import Compare, Side

        room = self._room
        sides = [Side(one.id, one_line(one.model or "Answer", 40)) for one in answers]
        self._open = Compare(question.content, sides, lambda: room.conductor.stop(question.conversation))

        def ready() -> None:
            # As they are now: one may have ended before there was anything to show it on.
            under_way = {live.message for live in room.conductor.lives_in(question.conversation)}
            store = room.stores.of(question.conversation)
            for answer in store.children(question.id, question.conversation):
                if answer.id not in under_way:
                    self.finish(room.entry(answer), answer)

        def kept(key: int | None) -> None:
            self._open = None
            if key is not None and room.current == question.conversation:
                self._messages.show(question.conversation, key)

        room.app.push_screen(self._open, kept)
        room.app.call_after_refresh(room.guarded, ready)

    def stream(self, live: Live) -> None:
        """An answer has grown."""
        if self._open is not None:
            written = live.written
            activity = words.activity(live.stage, written.done, written.total)
            self._open.stream(live.message, written.answer, written.reasoning, activity)

    def finish(self, entry: "Entry", message: Message | None) -> None:
        """An answer has ended."""
        if self._open is not None:
            speed = ""
            if message is not None:
                speed = words.speed(message.completion_tokens, message.decode_seconds, message.first_token_seconds)
            self._open.finish(entry.key, entry, speed)
