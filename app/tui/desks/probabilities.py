"""What else could have stood at a place of an answer, and going on from there. It asks the conductor, not an engine."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.chat.store import Message
from app.errors import QuietlyError
from app.tui.following import in_place
from app.tui.room import Room

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.messages import Messages
    from app.tui.screens.probabilities import Choice, Panel

_A_MOMENT = 0.5
"""Seconds after which it is said that the answer is being read: sooner the panel says it itself."""


class Probabilities:
    """The way to the panel and back."""

    def __init__(self, room: Room, messages: "Messages") -> None:
        self._room, self._messages = room, messages
        self.acts: dict[str, Act] = {"message.probabilities": lambda _: self.open()}

    def open(self) -> None:
        """Look into the answer in question, aside: the engine may be busy elsewhere for long."""
        room = self._room
        message = self._messages.target(only="assistant")
        if message is None:
            room.decline("There is no answer yet to look into.")
            return
        if self._messages.busy():
            return
        model = self._writer_of(message)
        if model is None:
            return
        in_place(room.app, "probabilities", partial(self._read, message, model))

    async def _read(self, message: Message, model: "InstalledModel") -> None:
        room = self._room
        busy = room.screen.set_timer(_A_MOMENT, lambda: room.say("Reading the answer again …"))
        try:
            pieces = await room.conductor.pieces(message, model)
        except QuietlyError as error:
            room.refused(error)
            return
        finally:
            busy.stop()
        # Whoever has gone on to something else meanwhile is not interrupted.
        if room.screen.is_active and room.message(message.id) is not None:
            self._show(message, model, pieces)

    def _writer_of(self, message: Message) -> "InstalledModel | None":
        """The model whose tokens the answer is made of; where there is none the person is told."""
        room = self._room
        if not message.token_ids:
            room.decline("The exact tokens of this answer are not known, so nothing can be recomputed.")
            return None
        model = next((model for model in room.shelf.models if model.name == message.model and not model.problem), None)
        if model is None:
            room.decline(f"{message.model} wrote this answer and is not here any more; bring it back to look into it.")
        return model

    def _show(self, message: Message, model: "InstalledModel", pieces: tuple[str, ...]) -> None:
        from app.answering import sampling_of, settings_of
        from app.tui.screens.probabilities import Panel, Probabilities, filters

        conductor, chosen_then = self._room.conductor, settings_of(message)

        async def ask(position: int, progress: Callable[[int, int], None]) -> "Panel":
            found = await conductor.candidates(message, model, position, progress)
            facts = conductor.loaded(model.path)
            return Panel(
                found.chosen,
                found.candidates,
                found.kept,
                found.kept_mass,
                filters(sampling_of(chosen_then, facts.sampling)) if facts is not None else "",
            )

        def chosen(choice: "Choice | None") -> None:
            if choice is not None:
                self._go_on(message, model, pieces, choice)

        self._room.app.push_screen(Probabilities(pieces, ask), chosen)

    def _go_on(self, message: Message, model: "InstalledModel", pieces: tuple[str, ...], choice: "Choice") -> None:
        ids = message.token_ids or ()
        text = "".join(pieces[: choice.position]) + choice.text
        self._messages.go_on_from(message, model, text, (*ids[: choice.position], choice.token))
