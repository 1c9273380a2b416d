"""Who can be measured: one interface for Quietly itself, for mlx-lm, for llama.cpp, and for what was never trained.

A runner lives on the side that waits; what computes is a process of its own. It knows nothing of rounds and tables.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from app.benching.messages import Opening, Prepared, Sample, Thing, Unmeasured
from app.child import Talk, talking
from app.errors import QuietlyError
from app.settings import paths
from model.choices import Choices

if TYPE_CHECKING:
    from app.library.local import InstalledModel

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""
Said = Opening | Prepared | Sample | Unmeasured


class Runner(Protocol):
    """Someone who runs one model. `prepare` comes first, `close` last, each once; in between things are measured one at
    a time, in any order and as often as wanted.

    Where any of it is cancelled, `close` still ends the process that computes.
    """

    name: str
    """As people call it: "quietly", "mlx-lm", "llama.cpp"."""

    async def prepare(self, progress: Progress) -> Prepared:
        """Open the model. QuietlyError where that cannot be done, with the way out."""

    async def measure(self, thing: Thing) -> Sample | Unmeasured:
        """Measure one thing once. QuietlyError where nothing more can be measured: its process has died."""

    async def close(self) -> None:
        """End what runs. Also where `prepare` failed or was never called."""


class _Process:
    """`app.benching.measurer`, a process that lives until `close`."""

    def __init__(self, name: str, who: str, source: str, subject: str, choices: Choices | None = None) -> None:
        """`who` and `source` as that module says; `subject` is what its sentences call the model."""
        self.name = name
        self._who, self._source, self._subject = who, source, subject
        self._choices = choices
        self._life = contextlib.AsyncExitStack()
        self._talk: Talk[Said] | None = None

    async def prepare(self, progress: Progress) -> Prepared:
        folder = self._life.enter_context(tempfile.TemporaryDirectory(prefix="quietly-bench-"))
        arguments = (
            self._who,
            self._source,
            self._subject,
            str(paths().conversions),
            msgspec.json.encode(self._choices).decode(),
            folder,
        )
        kinds: tuple[type[Said], ...] = (Opening, Prepared, Sample, Unmeasured)
        what = f"Measuring {self.name}"
        self._talk = await self._life.enter_async_context(
            talking("app.benching.measurer", arguments, *kinds, what=what)
        )
        while True:
            match await self._heard():
                case Opening(done, total):
                    progress(done, total)
                case Prepared() as prepared:
                    return prepared

    async def measure(self, thing: Thing) -> Sample | Unmeasured:
        assert self._talk is not None
        self._talk.ask(thing)
        message = await self._heard()
        assert isinstance(message, Sample | Unmeasured)
        return message

    async def close(self) -> None:
        await self._life.aclose()

    async def _heard(self) -> Said:
        assert self._talk is not None
        async for message in self._talk.said:
            return message
        raise QuietlyError(f"Measuring {self.name} ended before it was done: try again.")


class Measurer(_Process):
    """Quietly, or mlx-lm over the same weights."""

    def __init__(
        self, model: "InstalledModel", name: Literal["quietly", "mlx-lm"] = "quietly", choices: Choices | None = None
    ) -> None:
        """`choices`: how Quietly is to compute; None leaves it to the rule for this device."""
        super().__init__(name, name, str(model.path), model.name, choices)


class Untrained(_Process):
    """An architecture by itself: weights are random, and what they take is what trained ones of that shape would."""

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        """`fields` as in a config.json."""
        super().__init__(name, "untrained", msgspec.json.encode(fields).decode(), name)
