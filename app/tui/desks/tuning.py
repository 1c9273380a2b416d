"""How conversations are answered: what the model is told, the settings of generation, presets, and what holds for all
conversations with a model."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from app.chat.store import Preset, SystemPrompt
from app.chat.text import one_line
from app.fields import shown
from app.generation import GENERATION_FIELDS
from app.tui.desks.kept import Kept
from app.tui.room import Room
from app.tuning import Layer, checkpoint, chosen, unchosen, with_changes

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.models import Models
    from app.tui.desks.writing import Writing
    from app.tui.screens.form import Changes
    from app.tui.screens.generation import TuningScreen

_FIELDS = {field.id: field for field in GENERATION_FIELDS}
_NAMED = 40
"""Cells of a name in a sentence."""


class Tuning:
    """What is chosen, and the library that it is chosen from."""

    def __init__(self, room: Room, models: "Models", writing: "Writing") -> None:
        self._room, self._models, self._writing = room, models, writing
        disk = room.stores.disk
        self.prompts = Kept(
            room, "system prompt", disk.system_prompts, lambda one: one_line(one.text, 80), disk.remove_system_prompt
        )
        self.presets = Kept(room, "preset", disk.presets, _said, disk.remove_preset)
        self.acts: dict[str, Act] = {
            "conversation.tune": lambda _: self.tune(),
            "conversation.instruct": lambda name: self.prompts.use(name, self._instruct),
            "conversation.preset": lambda name: self.presets.use(name, self._begin_from),
            "model.tune": self.tune_named,
        }

    # --- the conversation in view ---

    def tune(self) -> None:
        """Show all that can be chosen for it."""
        from app.tui.screens.generation import TuningScreen, preset_of, values_of

        room = self._room
        of = room.record()
        title = "The next conversation" if of is None else f"This conversation: {one_line(of.title, 60)}"

        def saved(changes: "Changes | None") -> None:
            if changes:
                room.guarded(lambda: self._take(preset_of(values_of(room.tuning) | changes)))
            if changes is not None and screen.model is not None:
                self._answer_with(screen.model)

        acts = {"prompts": self._prompts, "presets": self._presets, "model": self._model_of}
        model = room.shelf.chosen
        screen = TuningScreen(
            title,
            room.tuning,
            self._below(model),
            self._settled(model),
            {id: partial(self._guarded, act) for id, act in acts.items()},
        )
        room.app.push_screen(screen, saved)

    def _guarded(self, act: "Callable[[TuningScreen], object]", screen: "TuningScreen") -> None:
        self._room.guarded(partial(act, screen))

    def _take(self, tuning: Preset) -> None:
        self._room.tune(tuning)
        self._room.show_page()
        self._room.say("In force from the next answer on.")
        self._writing.count_soon()

    def _answer_with(self, name: str) -> None:
        """Let the model of a preset answer next."""
        room, model = self._room, self._named(name)
        if model is None:
            room.say(f"{one_line(name, _NAMED)}, the preset's model, is not here; /model chooses another.")
        elif model != room.shelf.chosen:
            self._models.choose(str(model.path))

    def _named(self, name: str) -> "InstalledModel | None":
        return next((model for model in self._room.shelf.models if model.name == name), None)

    # --- what holds where nothing is chosen ---

    def _below(self, model: "InstalledModel | None") -> tuple[Layer, ...]:
        """What holds where a conversation that `model` answers has no choice of its own."""
        if model is None:
            return self._outer(None)
        own = self._room.stores.disk.model_settings(model.name)
        return (Layer(f"for all with {one_line(model.name, 30)}", own), *self._outer(model))

    def _outer(self, model: "InstalledModel | None") -> tuple[Layer, ...]:
        """What holds where `model` has no settings of its own."""
        loaded = self._room.conductor.loaded(model.path) if model is not None else None
        return Layer("for all models", self._room.settings.generation), checkpoint(loaded)

    def _settled(self, model: "InstalledModel | None") -> dict[str, str]:
        """What cannot be chosen, and why."""
        loaded = self._room.conductor.loaded(model.path) if model is not None else None
        if loaded is None or loaded.thinking:
            return {}
        return {"thinking": "not with this model"}

    # --- a model ---

    def tune_named(self, name: str) -> None:
        """Show what can be chosen for all conversations with the model named, or with the chosen one."""
        if name:
            self._models.pick("Whose settings?", name, self.tune_model)
        elif (model := self._models.chosen()) is not None:
            self.tune_model(model)

    def tune_model(self, model: "InstalledModel", then: Callable[[], None] = lambda: None) -> None:
        """Show what can be chosen for all conversations with `model`; `then` is called once it has changed."""
        from app.tui.screens.form import Form

        room = self._room
        disk, outer = room.stores.disk, self._outer(model)

        def keep(changes: "Changes") -> None:
            disk.keep_model_settings(model.name, with_changes(disk.model_settings(model.name), changes))
            self._writing.count_soon()
            then()

        def saved(changes: "Changes | None") -> None:
            if changes:
                room.guarded(partial(keep, changes))

        room.app.push_screen(
            Form(
                f"All conversations with {one_line(model.name, _NAMED)}",
                GENERATION_FIELDS,
                chosen(disk.model_settings(model.name)),
                unset=lambda id: unchosen(_FIELDS[id], outer),
                locked=self._settled(model),
            ),
            saved,
        )

    def _model_of(self, screen: "TuningScreen") -> None:
        model = self._named(screen.model or "") or self._models.chosen()
        if model is not None:
            self.tune_model(model, lambda: screen.stand_on(self._below(model)))

    # --- what is kept under names ---

    def _instruct(self, prompt: SystemPrompt) -> None:
        self._take(msgspec.structs.replace(self._room.tuning, system_prompt=prompt.text))

    def _begin_from(self, preset: Preset) -> None:
        self._take(preset)
        if preset.model is not None:
            self._answer_with(preset.model)

    def _prompts(self, screen: "TuningScreen") -> None:
        now, disk = screen.now(), self._room.stores.disk
        if now is None:
            return

        def keep(name: str) -> None:
            disk.keep_system_prompt(SystemPrompt(name, now.system_prompt))

        self.prompts.menu(
            lambda prompt: screen.fill({"system_prompt": prompt.text or None}),
            keep if now.system_prompt.strip() else None,
        )

    def _presets(self, screen: "TuningScreen") -> None:
        now, room = screen.now(), self._room
        if now is None:
            return
        model = screen.model or (room.shelf.chosen.name if room.shelf.chosen is not None else None)

        def keep(name: str) -> None:
            room.stores.disk.keep_preset(msgspec.structs.replace(now, name=name, model=model))

        def begin_from(preset: Preset) -> None:
            screen.begin_from(preset, self._below(self._named(preset.model or "") or room.shelf.chosen))

        self.presets.menu(begin_from, keep)


def _said(preset: Preset) -> str:
    """What a preset holds, in a line."""
    settings = [f"{_FIELDS[id].label} {shown(_FIELDS[id], value)}" for id, value in chosen(preset.settings).items()]
    return " · ".join([*([preset.model] if preset.model else []), *settings, one_line(preset.system_prompt, 60)])
