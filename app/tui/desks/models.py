"""Models: which there are, which answers next, and the way to others."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.chat.text import one_line
from app.shelf import beside
from app.tui.following import in_place
from app.tui.room import Room

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act


class Models:
    """The shelf at the window."""

    def __init__(self, room: Room, leave: Callable[[], None]) -> None:
        """`leave` is called when a model was chosen: the person wants to write."""
        self._room, self._leave = room, leave
        self.on_looked: Callable[[], object] = lambda: None
        """Called whenever models have been looked for."""
        self.acts: dict[str, Act] = {
            "model.switch": lambda name: self.switch(name),
            "model.add": lambda _: self.add(),
        }

    def look(self, then: Callable[[], None] | None = None) -> None:
        """Look for installed models aside, and begin loading the one that answers next, where that is wanted."""
        room = self._room

        async def look() -> None:
            looking = asyncio.create_task(asyncio.to_thread(room.library.models, room.shelf.folders))
            if room.settings.load_at_start and not room.looked:
                room.conductor.prepare()  # an engine takes longer to begin than the look does
            models = await looking
            room.shelf.fill(models)
            if unfinished := [model for model in models if model.unfinished is not None]:
                room.library.downloads.found(unfinished)
            room.looked = True
            room.tell_models()
            room.show_welcome()
            self.on_looked()
            if then is not None:
                then()
            if room.shelf.chosen is None or room.shelf.only_demonstrated:
                self.add()
            elif room.settings.load_at_start:
                room.conductor.warm(room.shelf.chosen.path)
            room.tell()

        in_place(room.app, "models", look)

    def chosen(self) -> "InstalledModel | None":
        """The model that answers next; where there is none the person is told, or helped to one."""
        if self._room.shelf.chosen is None:
            if self._room.looked:
                self.add()
            else:
                self._room.decline("Looking for models; one moment.")
        return self._room.shelf.chosen

    def choose(self, key: str) -> None:
        """Let the model at the path `key` answer next, and begin loading it."""
        room = self._room
        model = room.shelf.find(key)
        if model is None:
            return
        if model.problem is not None:
            room.decline(model.problem, wrong=True)
            return
        room.guarded(lambda: room.shelf.choose(model))
        room.conductor.warm(model.path)
        room.tell_models()
        room.show_welcome()
        room.tell()
        self._leave()

    def ask_to_insist(self, path: Path, sentence: str) -> None:
        """A model was not loaded because it is judged too big: ask whether it should be tried all the same."""
        from app.tui.screens.asking import Confirm

        room, model = self._room, self._room.shelf.find(str(path))
        if model is None or room.app.screen is not room.screen:
            room.say(sentence, wrong=True)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                room.conductor.insist(path)

        room.app.push_screen(Confirm(f"Load {one_line(model.name, 60)} all the same?", "Load it", sentence), answered)

    def switch(self, name: str = "") -> None:
        """Choose by `name`, or from a list."""
        self.pick("Switch model…", name, lambda model: self.choose(str(model.path)), adding=True)

    def pick(
        self, question: str, name: str, act: "Callable[[InstalledModel], object]", *, adding: bool = False
    ) -> None:
        """Act on the one usable model whose name contains `name`, or let the person choose from a list."""
        from app.tui.palette import Choice, choose

        def take(model: "InstalledModel") -> None:
            if model.problem is None:
                act(model)
            else:
                self._room.decline(model.problem, wrong=True)

        found = self._named(name)
        if name and len(found) == 1:
            take(found[0])
            return
        if name and not found:
            self._room.say(f"No model here is named like {name}; choose one from the list.")
        choices = [
            Choice(model.name, model.problem or beside(model), partial(take, model))
            for model in found or self._room.shelf.models
        ]
        if adding:
            choices.append(Choice("Add a model…", "Download one, or name a folder", self.add))
        choose(self._room.app, question, choices)

    def _named(self, name: str) -> "Sequence[InstalledModel]":
        models = [model for model in self._room.shelf.models if name.casefold() in model.name.casefold()]
        exact = [model for model in models if model.name.casefold() == name.casefold()]
        return exact or models

    def add(self) -> None:
        """Help to a first model, or to another."""
        from app.tui.screens.begin import BeginScreen

        room = self._room

        def begun(key: str | None) -> None:
            if key is not None:
                self.look(lambda: self.choose(key))

        if not isinstance(room.app.screen, BeginScreen):
            first = not any(model.problem is None and model.source != "demonstration" for model in room.shelf.models)
            room.app.push_screen(BeginScreen(room.library, room.shelf, first=first), begun)
