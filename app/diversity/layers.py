"""The process that looks into a model's layers: `python -m app.diversity.layers PATH NAME CONVERSIONS`.

It is given a text on standard input, reads it with the model and says what it found of each layer. It speaks to nobody
else.
"""

import queue
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec

from app.child import Say, serve
from app.closed import refuse_connections
from app.diversity import MOST_TOKENS, Ask, Layer, Measured, Step
from app.engine.blas import load_fast_blas
from app.engine.memory import ADVICE, tells_of_want
from app.errors import QuietlyError
from model.errors import ModelError


def main(arguments: Sequence[str]) -> None:
    """Measure as told, then end the process."""
    path, name, conversions = arguments
    refuse_connections()
    load_fast_blas()
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    serve(partial(_work, Path(path), Path(conversions), name, asked), partial(_why, name), hear=asked.put)


def _work(path: Path, conversions: Path, name: str, asked: "queue.SimpleQueue[bytes]", say: Say) -> None:
    import model
    from model.diversity import MOST, diversities

    text = msgspec.json.decode(asked.get(), type=Ask).text
    try:
        loaded = model.load(
            path,
            conversions=conversions,
            progress=lambda stage, done, total: say(Step("Opening", done, total)),
        )
        tokens = loaded.tokenizer.encode_plain(text)[: min(MOST_TOKENS, loaded.traits.trained)]
        found = diversities(
            loaded.network, tokens, name, progress=lambda done, total: say(Step("Looking at layers", done, total))
        )
    except ModelError as error:
        raise QuietlyError(str(error)) from None
    layers = tuple(Layer(**asdict(one)) for one in found)
    say(Measured(layers, tokens=len(tokens) - 1, variance=MOST))


def _why(name: str, error: BaseException) -> str:
    """What went wrong in MLX, as the sentence a person needs."""
    if isinstance(error, MemoryError) or tells_of_want(str(error)):
        return f"This machine's memory is not enough to look into {name}: {ADVICE}, or give a shorter text."
    return f"{name} could not be looked into ({type(error).__name__}): layers.log among Quietly's logs says more."


if __name__ == "__main__":
    main(sys.argv[1:])
