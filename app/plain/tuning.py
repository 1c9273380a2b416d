"""How conversations are answered: by which model, told what, with which settings."""

from collections.abc import Awaitable, Callable

import msgspec

from app.chat.store import Preset
from app.chat.text import one_line
from app.fields import Field, expected, fits, shown
from app.generation import GENERATION_FIELDS
from app.plain.room import Room, chosen_by
from app.settings import meant
from app.shelf import beside
from app.tuning import Layer, checkpoint, unchosen, with_changes

_FIELDS = {field.id: field for field in GENERATION_FIELDS}
_NAMED = 40
_BACK = "usual"
"""What is typed in the place of a value to take a choice back."""
_IN_FORCE = "In force from the next answer on."


class Tuning:
    """What is chosen for the conversation, and what it is chosen from."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.acts: dict[str, Callable[[str], Awaitable[None]]] = {
            "/model": self._model,
            "/system": self._system,
            "/preset": self._preset,
            "/tune": self._tune,
        }

    # --- models ---

    async def _model(self, name: str) -> None:
        room, models = self._room, self._room.shelf.models
        found = [models[place] for place in chosen_by(name, [model.name for model in models])] if name else []
        if len(found) == 1:
            if found[0].problem is not None:
                room.say(found[0].problem)
            else:
                room.shelf.choose(found[0])
                room.conductor.warm(found[0].path)
                room.say(f"{one_line(found[0].name, _NAMED)} answers next.")
            return
        if name:
            many = "Several models are" if found else "No model here is"
            room.say(f"{many} named like {one_line(name, _NAMED)}:")
        for model in found or models:
            next_one = ", answers next" if model == room.shelf.chosen else ""
            room.say(f"{one_line(model.name, _NAMED)}, {model.problem or beside(model)}{next_one}.")
        room.say("/model and a name chooses one." if models else "No model is here yet.")

    # --- what it is told, and presets ---

    async def _system(self, name: str) -> None:
        room, kept = self._room, self._room.stores.disk.system_prompts()
        if name:
            found = [kept[place] for place in chosen_by(name, [one.name for one in kept])]
            if len(found) == 1:
                self._take(msgspec.structs.replace(room.tuning, system_prompt=found[0].text))
                return
            room.say(f"Of the system prompts that are kept, {'several' if found else 'none'} are named like that.")
        now = room.tuning.system_prompt
        room.say(f"The model is told: {now}" if now.strip() else "The model is told nothing before the first message.")
        for one in kept:
            room.say(f"{one_line(one.name, _NAMED)}: {one_line(one.text, 80)}")
        if kept:
            room.say("/system and a name takes one of these.")
        room.say("An empty line leaves it as it is, a single dot takes it away.")
        if told := await room.answer_to("Tell the model"):
            self._take(msgspec.structs.replace(room.tuning, system_prompt="" if told == "." else told))

    async def _preset(self, name: str) -> None:
        room, kept = self._room, self._room.stores.disk.presets()
        found = [kept[place] for place in chosen_by(name, [one.name for one in kept])] if name else []
        if len(found) == 1:
            self._take(found[0])
            if found[0].model is not None:
                await self._model(found[0].model)
            return
        for one in found or kept:
            room.say(f"{one_line(one.name, _NAMED)}: {_held(one)}")
        room.say("/preset and a name takes one over." if kept else "No preset is kept yet; the window keeps them.")

    def _take(self, tuning: Preset) -> None:
        self._room.tune(tuning)
        self._room.say(_IN_FORCE)

    # --- settings ---

    async def _tune(self, typed: str) -> None:
        name, _, value = typed.partition(" ")
        field = _FIELDS.get(name)
        if field is None:
            if name:
                self._room.say(f"{one_line(name, _NAMED)} is none of these:")
            for each in GENERATION_FIELDS:
                self._room.say(self._told(each))
            self._room.say(f"/tune temperature 0.5 sets one, /tune temperature {_BACK} takes that back.")
        elif not value.strip():
            self._room.say(f"{field.says}.", self._told(field))
        else:
            self._set(field, value.strip())

    def _set(self, field: Field, typed: str) -> None:
        room = self._room
        value = None if typed == _BACK else meant(field, typed)
        if value is not None and not fits(field, value):
            room.say(f"{field.id} must be {expected(field)}, not {one_line(typed, _NAMED)}.")
            return
        now = room.tuning
        room.tune(msgspec.structs.replace(now, settings=with_changes(now.settings, {field.id: value})))
        room.say(self._told(field), _IN_FORCE)

    def _told(self, field: Field) -> str:
        """What holds of a setting, and whose choice that is."""
        own = getattr(self._room.tuning.settings, field.id)
        if own is not None:
            return f"{field.id}: {shown(field, own)}, for this conversation."
        return f"{field.id}: {unchosen(field, self._layers())}."

    def _layers(self) -> tuple[Layer, ...]:
        room, model = self._room, self._room.shelf.chosen
        layers = [Layer("for all models", room.settings.generation)]
        if model is not None:
            of_model = room.stores.disk.model_settings(model.name)
            layers.insert(0, Layer(f"for all with {one_line(model.name, _NAMED)}", of_model))
            layers.append(checkpoint(room.conductor.loaded(model.path)))
        return tuple(layers)


def _held(preset: Preset) -> str:
    """What a preset holds, in a line."""
    chosen = ((field, getattr(preset.settings, field.id)) for field in GENERATION_FIELDS)
    settings = [f"{field.id} {shown(field, value)}" for field, value in chosen if value is not None]
    told = one_line(preset.system_prompt, 60)
    return ", ".join(filter(None, [one_line(preset.model or "", _NAMED), *settings, told])) or "nothing of its own"
