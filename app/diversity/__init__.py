"""How much the hidden states of a text differ, layer by layer, in a model that is opened for this alone.

A process of its own computes (`layers`); `telling` draws what it found. This side asks and waits, and knows neither MLX
nor who shows it. What is measured, `model.diversity` says.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from app.assets import asset
from app.chat.text import one_line
from app.child import talking
from app.errors import QuietlyError
from app.settings import paths

if TYPE_CHECKING:
    from app.library.local import InstalledModel

MOST_TOKENS = 1024
"""Of a text that are read: with more, a layer's states differ in hardly more directions, and it takes longer."""
MOST_BYTES = 1 << 16
"""Of a text; of which tokens are made before most of them are left out."""
OURS = "docs/tour.md"
"""The asset that is read where nobody gives a text."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Read this text. It comes by standard input: arguments everybody may list."""

    text: str


class Step(msgspec.Struct, frozen=True, tag=True):
    """How far it has come: of bytes of weights, or of layers."""

    doing: str
    done: int
    total: int


class Layer(msgspec.Struct, frozen=True):
    """What was found of one layer, as `model.diversity.Diversity` has it."""

    dimension: int
    limit: int
    distance: float
    share: float


class Measured(msgspec.Struct, frozen=True, tag=True):
    """All layers, lowest first."""

    layers: tuple[Layer, ...]
    tokens: int
    """Whose states were compared: those that were read, without the first."""
    variance: float
    """The share of it that components are counted for."""


Progress = Callable[[str, int, int], None]
"""Called with what is done, and how far that has come."""


def our_text() -> str:
    """The text that is read where nobody gives one."""
    return asset(OURS).read_text(encoding="utf-8")


async def measure(model: "InstalledModel", text: str, progress: Progress = lambda doing, done, total: None) -> Measured:
    """Let `model` read `text`, up to `MOST_TOKENS`, and measure each layer's states.

    QuietlyError, in one sentence, where the model cannot be opened, hides its layers, or the text is too short.
    """
    name = one_line(model.name)
    arguments = (str(model.path), name, str(paths().conversions))
    what = f"Looking into {name}"
    async with talking("app.diversity.layers", arguments, Step, Measured, what=what) as talk:
        talk.ask(Ask(text))
        async for message in talk.said:
            match message:
                case Step(doing, done, total):
                    progress(doing, done, total)
                case Measured():
                    return message
    raise QuietlyError(f"{what} ended before it was done: try again.")
