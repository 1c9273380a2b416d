"""The process that measures: `python -m app.benching.measurer WHO SOURCE NAME CONVERSIONS CHOICES FOLDER`.

It opens the model Quietly's way or mlx-lm's (WHO), or makes one without training of a config.json (SOURCE is then what
stands in it, else a path), and measures one thing after another as it is asked on standard input. FOLDER takes sessions
that are restored; whoever starts this takes it away. It speaks to nobody else. Only mlx-lm runs as it comes: what is
ours gets the fast BLAS that its engines get.
"""

import importlib.metadata
import queue
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from app.benching.messages import (
    Bandwidth,
    Decode,
    Opening,
    Prefill,
    Prepared,
    Restore,
    Sample,
    Thing,
    Turn,
    Unmeasured,
)
from app.chat.text import one_line
from app.child import Say, serve
from app.closed import refuse_connections
from app.engine.blas import load_fast_blas
from app.engine.limits import device_name, go_first, raise_thread_priority, set_limits, usually_kept
from app.engine.memory import ADVICE, tells_of_want
from app.errors import QuietlyError
from model.choices import Choices
from model.errors import ModelError
from model.weights.conversions import is_pth

if TYPE_CHECKING:
    from model.benchmark import Measured
    from model.language_model import LanguageModel

_WARM_UP = 16
"""Tokens that are read to learn what a token takes in the caches."""
_LAST_WORDS = 200
"""Cells of what mlx-lm says of itself when it fails."""


class Meter(Protocol):
    """What measures a loaded model; `model.benchmark.Meter` says what is meant."""

    def prefill(self, tokens: int) -> "Measured": ...
    def decode(self, depth: int, tokens: int) -> "Measured": ...
    def turn(self, held: int, new: int) -> "Measured": ...
    def restore(self, held: int, new: int) -> "Measured": ...


Opened = Callable[[Say], tuple[Meter, Prepared]]


def main(arguments: Sequence[str]) -> None:
    """Open the model as told, and measure what is asked until standard input ends."""
    who, source, name, conversions, choices, folder = arguments
    refuse_connections()
    go_first()
    blas = load_fast_blas() if who != "mlx-lm" else None
    places = Path(source), Path(conversions), Path(folder)
    opened: Opened
    match who:
        case "quietly":
            opened = partial(_ours, *places, msgspec.json.decode(choices, type=Choices | None), blas)
        case "mlx-lm":
            opened = partial(_theirs, *places)
        case _:
            fields = msgspec.json.decode(source, type=dict[str, object])
            opened = partial(_untrained, fields, name, Path(folder), blas)
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    serve(
        partial(_work, opened, asked),
        partial(_why, who, name),
        clear=lambda: shutil.rmtree(folder, ignore_errors=True),  # whoever asked is gone, and would have done it
        hear=asked.put,
    )


def _work(opened: Opened, asked: "queue.SimpleQueue[bytes]", say: Say) -> None:
    raise_thread_priority()
    try:
        meter, prepared = opened(say)
    except ModelError as error:
        raise QuietlyError(str(error)) from None
    say(prepared)
    decode = msgspec.json.Decoder(Thing).decode
    while True:
        say(_measured(meter, decode(asked.get())))


def _measured(meter: Meter, thing: Thing) -> Sample | Unmeasured:
    from model.benchmark import bandwidth

    try:
        match thing:
            case Prefill(tokens):
                measured = meter.prefill(tokens)
            case Decode(depth, tokens):
                measured = meter.decode(depth, tokens)
            case Turn(held, new):
                measured = meter.turn(held, new)
            case Restore(held, new):
                measured = meter.restore(held, new)
            case Bandwidth(size):
                measured = bandwidth(size)
    except ModelError as error:
        return Unmeasured(str(error).rstrip("."))
    return Sample(measured.seconds, measured.memory, measured.read, measured.kept)


def _ours(
    path: Path, conversions: Path, folder: Path, choices: Choices | None, blas: str | None, say: Say
) -> tuple[Meter, Prepared]:
    import model

    loaded = model.load(
        path, conversions=conversions, choices=choices, progress=lambda stage, done, total: say(Opening(done, total))
    )
    return _of_ours(loaded, folder, blas)


def _untrained(
    fields: Mapping[str, object], name: str, folder: Path, blas: str | None, say: Say
) -> tuple[Meter, Prepared]:
    from model.benchmark import untrained

    return _of_ours(untrained(fields, name), folder, blas)


def _of_ours(loaded: "LanguageModel", folder: Path, blas: str | None) -> tuple[Meter, Prepared]:
    import mlx.core as mx

    from model.benchmark import Meter as OurMeter

    traits = loaded.traits
    weights, session = mx.get_active_memory(), loaded.session()
    session.prefill([0] * min(_WARM_UP, traits.context - 1))
    set_limits(mx, weights, usually_kept(session.nbytes, len(session), traits.context))
    joined = "queries, keys and values as one product, gate and up as another"
    return OurMeter(loaded, folder), Prepared(
        version=f"MLX {importlib.metadata.version('mlx')}",
        device=_device(),
        configuration=(
            *_numbers(loaded.network),
            ("prompt", f"{traits.choices.chunk:,} tokens at once"),
            ("products", joined if traits.choices.joined else "one a matrix"),
            ("steps", "compiled between the caches" if traits.choices.compiled else "as they are"),
            *_blas(blas or "the one MLX brings"),
        ),
        context=traits.context,
        choices=traits.choices,
        parameters=traits.parameters,
    )


def _theirs(path: Path, conversions: Path, folder: Path, say: Say) -> tuple[Meter, Prepared]:
    from app.benching.theirs import AT_ONCE, TheirMeter
    from model.weights.gguf import convert

    if is_pth(path):
        raise ModelError("mlx-lm reads no .pth files: leave it out, or measure another model.", "unsupported")
    if not path.is_dir():
        path = convert(path, conversions, lambda done, total: say(Opening(done, total)))
    meter = TheirMeter(path, folder)
    return meter, Prepared(
        version=f"mlx-lm {importlib.metadata.version('mlx-lm')}, MLX {importlib.metadata.version('mlx')}",
        device=_device(),
        configuration=(
            *_numbers(meter.module),
            ("prompt", f"{AT_ONCE:,} tokens at once"),
            *_blas("the one MLX brings: as it comes"),
        ),
        context=meter.context,
    )


def _numbers(network: Any) -> tuple[tuple[str, str], ...]:
    """How weights are held, and what is computed in."""
    from model.benchmark import number_type, packed_bits

    bits = packed_bits(network)
    held = f"in {bits} bit, as they are stored" if bits else f"as {number_type(network)}"
    return ("numbers", number_type(network)), ("weights", held)


def _blas(name: str) -> tuple[tuple[str, str], ...]:
    """Only the CPU back end of Linux has one to choose."""
    import mlx.core as mx

    return (("BLAS", name),) if sys.platform == "linux" and mx.default_device().type == mx.DeviceType.cpu else ()


def _device() -> str:
    import mlx.core as mx

    return device_name(mx.device_info(), str(mx.default_device()))


def _why(who: str, name: str, error: BaseException) -> str:
    """What went wrong in MLX, or in mlx-lm, as the sentence a person needs."""
    if isinstance(error, MemoryError) or tells_of_want(str(error)):
        return f"This machine's memory is not enough to measure {name} so: {ADVICE}, or measure shorter prompts."
    if who == "mlx-lm":  # others go on, and may write over the log
        said = one_line(str(error), _LAST_WORDS).rstrip(".") or type(error).__name__
        return f"mlx-lm could not run {name} ({said}): leave it out, or measure another model."
    return f"{name} could not be measured ({type(error).__name__}): measurer.log among Quietly's logs says more."


if __name__ == "__main__":
    main(sys.argv[1:])
