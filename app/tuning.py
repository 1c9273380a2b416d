"""What holds of the generation settings where nothing is chosen, and whose choice that is.

A choice of the conversation stands over its model's, that over the program's, that over the checkpoint's own. Knows
neither the screen nor the store.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from app import words
from app.fields import Field, shown
from app.generation import GENERATION_FIELDS, GenerationSettings

if TYPE_CHECKING:
    from app.engine.protocol import Loaded

_UNCHOSEN = {
    "seed": "another for each answer",
    "max_tokens": "no limit",
    "thinking": "as the model does by itself",
    "context": "all that the model holds",
    "overflow": "the oldest messages go",
}
"""What holds where nobody has chosen and the checkpoint has no say; of the rest it has."""
_UNKNOWN = "the checkpoint's own"


class Layer(msgspec.Struct, frozen=True):
    """What was chosen further out, and whose it is: "all conversations with starter"."""

    whose: str
    settings: GenerationSettings
    trained: int | None = None
    """Of a model that has no limit of context, how many tokens it was trained on."""


def checkpoint(loaded: "Loaded | None") -> Layer:
    """What the checkpoint says itself, while an engine holds it."""
    from model.config import UNBOUNDED

    if loaded is None:
        return Layer(_UNKNOWN, GenerationSettings())
    own, has_limit = loaded.sampling, loaded.context < UNBOUNDED
    settings = GenerationSettings(
        temperature=own.temperature,
        top_p=own.top_p,
        top_k=own.top_k,
        min_p=own.min_p,
        repetition_penalty=own.repetition_penalty,
        presence_penalty=own.presence_penalty,
        frequency_penalty=own.frequency_penalty,
        penalty_decay=own.penalty_decay,
        context=loaded.context if has_limit else None,
    )
    return Layer(_UNKNOWN, settings, None if has_limit else loaded.trained)


def unchosen(field: Field, layers: Sequence[Layer]) -> str:
    """What holds of `field` where nothing is chosen, and whose that is; the nearest of `layers` comes first."""
    name = field.id.rpartition(".")[2]  # in the settings they stand in a table
    for layer in layers:
        if (value := getattr(layer.settings, name)) is not None:
            return f"{shown(field, value)}, {layer.whose}"
        if name == "context" and layer.trained is not None:
            return words.no_limit(layer.trained)
    return _UNCHOSEN.get(name, _UNKNOWN)


def chosen(settings: GenerationSettings) -> dict[str, object]:
    """By field what is chosen in `settings`."""
    return {field.id: value for field in GENERATION_FIELDS if (value := getattr(settings, field.id)) is not None}


def with_changes(settings: GenerationSettings, changes: Mapping[str, object | None]) -> GenerationSettings:
    """`settings` after what a person changed; None is a choice taken back. What is no field of it is passed over."""
    known = {field.id for field in GENERATION_FIELDS}
    now = msgspec.structs.asdict(settings) | {id: value for id, value in changes.items() if id in known}
    return msgspec.convert(now, GenerationSettings)
