"""How a conversation is answered, as a form: what the model is told, and the settings of generation with what holds
where nothing is chosen.

What stands behind the buttons at its foot is done by whoever opened it. It knows no store and no engine.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

import msgspec
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Button

from app.chat.records import GenerationSettings, Preset
from app.fields import Field
from app.generation import GENERATION_FIELDS
from app.tui.screens.form import Changes, Form
from app.tuning import Layer, unchosen

SYSTEM_PROMPT = Field(
    "system_prompt",
    "What it is told",
    "System prompt",
    "What the model reads before the first message",
    "text",
    optional=True,
)
_FIELDS = {field.id: field for field in GENERATION_FIELDS}


class TuningScreen(Form):
    """What is chosen for one conversation, with the ways to the library, the presets and the model's own settings."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l", "do('prompts')", "System prompts", show=False, id="tuning.prompts"),
        Binding("ctrl+t", "do('presets')", "Presets", show=False, id="tuning.presets"),
        Binding("ctrl+o", "do('model')", "Settings of the model", show=False, id="tuning.model"),
    ]

    def __init__(
        self,
        title: str,
        now: Preset,
        layers: Sequence[Layer],
        locked: Mapping[str, str],
        acts: "Mapping[str, Callable[[TuningScreen], object]]",
    ) -> None:
        """`layers` hold where nothing is chosen; `acts` are what is behind the buttons, by their ids: prompts, presets
        and model."""
        fields = (SYSTEM_PROMPT, *GENERATION_FIELDS)
        super().__init__(title, fields, values_of(now), unset=self._unchosen, locked=locked)
        self._layers, self._acts = layers, acts
        self.model: str | None = None
        """The model of the preset that was taken over last."""

    def further(self) -> Iterable[Widget]:
        yield Button("Prompts…", id="prompts", compact=True)
        yield Button("Presets…", id="presets", compact=True)
        yield Button("Model…", id="model", compact=True)

    def now(self) -> Preset | None:
        """What is chosen as it stands; None where something of it does not fit, which is then said."""
        held = self.held()
        return None if held is None else preset_of(held)

    def begin_from(self, preset: Preset, layers: Sequence[Layer]) -> None:
        """Let what `preset` says stand here, over `layers`."""
        self.model, self._layers = preset.model, layers
        self.fill(values_of(preset))

    def stand_on(self, layers: Sequence[Layer]) -> None:
        """What holds where nothing is chosen has changed."""
        self._layers = layers
        self.fill({id: row.control.held for id, row in self._rows.items()})

    def _unchosen(self, id: str) -> str:
        return "nothing" if id == SYSTEM_PROMPT.id else unchosen(_FIELDS[id], self._layers)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if (id := event.button.id) is not None and id in self._acts:
            self.action_do(id)
        else:
            super().on_button_pressed(event)

    def action_do(self, id: str) -> None:
        # Behind the letters that are still on their way to where they were typed.
        (self.focused or self).call_later(self._acts[id], self)


def values_of(preset: Preset) -> Changes:
    """By field what `preset` says."""
    told: Changes = {SYSTEM_PROMPT.id: preset.system_prompt or None}
    return told | msgspec.structs.asdict(preset.settings)


def preset_of(values: Mapping[str, object | None], name: str = "", model: str | None = None) -> Preset:
    """What the values of the form, by field, come to."""
    settings = {field.id: values[field.id] for field in GENERATION_FIELDS}
    return Preset(name, model, str(values[SYSTEM_PROMPT.id] or ""), msgspec.convert(settings, GenerationSettings))
