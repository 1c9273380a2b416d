"""How long a loaded model takes, by our own clock, and how fast its device moves memory.

Whatever is measured is computed as it is for a person: by `Session` and `Generation`, greedily, one token ahead.
Prompts are tokens without a meaning, the same each time. It belongs to the thread that loaded the model, and knows
neither rounds nor other programs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mode
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from model.choices import choices_for
from model.config import parse_config
from model.errors import ModelError
from model.generation import Generation
from model.language_model import LanguageModel, Traits
from model.layers import products
from model.layers.stacked import Stacked
from model.registry import OURS
from model.sampling import Sampling
from model.saving import load_session
from model.session import Session
from model.weights.precision import choose, recast, this_device

_STEP = 7919
"""A prime: prompts go through the whole vocabulary."""
_PACKING = 8
"""Bits of the keys and values of a saved session, as an engine keeps them."""
_HEADS = {"lm_head", "head"}
"""What the module is called that makes logits, where it is not the embedding."""
_ENOUGH, _MOST = 0.1, 500
"""Seconds for which memory is read in one measurement, and how many times at most."""


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    seconds: float
    memory: int
    """Bytes at most while it was taken, without conversations that were only kept for later."""
    read: int | None = None
    """Bytes that had to be read: for each token of an answer, or in all. None where it is not known."""
    kept: int | None = None
    """Of a prompt: bytes of keys and values, or of the state, that stand for it afterwards, without room to grow."""


def untrained(fields: Mapping[str, object], name: str) -> LanguageModel:
    """A model of this config.json, computed as one of ours is here, whose weights are random.

    It takes the time and the memory of a trained one of its shape, and says nothing. ModelError as in `parse_config`.
    """
    config = parse_config(fields, name)
    device = this_device()
    mx.random.seed(0)
    network: Any = OURS[config.model_type](config)
    network.eval()
    recast(network, choose(mx.bfloat16, config.model_type, device).safe)
    parameters: Any = tree_flatten(network.parameters())
    mx.eval([array for _, array in parameters])
    count = sum(array.size for _, array in parameters)
    choices = choices_for(device.gpu, device.architecture, count, config.recurrent)
    network.arrange(choices)
    traits = Traits(
        name=name,
        path=Path(),
        architecture=config.model_type,
        implementation="quietly",
        fingerprint="",
        parameters=count,
        bits=None,
        vocabulary=config.vocab_size,
        context=config.context,
        trained=config.trained,
        choices=choices,
        defaults=Sampling(temperature=0),
    )
    return LanguageModel(network, traits, None)


def prompt(length: int, vocabulary: int) -> list[int]:
    """Tokens to be read, `length` of them; a longer prompt begins with every shorter one."""
    return [index * _STEP % vocabulary for index in range(length)]


class Meter:
    """Measures one model. Conversations that were read once are kept, so that what follows them can be measured again
    without reading them again."""

    def __init__(self, language_model: LanguageModel, folder: Path) -> None:
        """`folder` takes the file of a session that is restored."""
        self._model = language_model
        self._folder = folder
        self._held: dict[int, Session] = {}
        """By how many tokens they hold, whatever has been written behind them."""
        self._saved: int | None = None

    def prefill(self, tokens: int) -> Measured:
        """From a prompt of so many tokens, nothing of it in any cache, to the first token."""
        session = self._model.session()
        return replace(self._first_token(lambda: session, tokens, aside=None), kept=_bytes_kept(session))

    def decode(self, depth: int, tokens: int) -> Measured:
        """So many tokens behind `depth` others: the intervals between them, one token before them not counted.

        ModelError("context") where there is no room for them.
        """
        session = self._holding(max(1, depth))
        mx.reset_peak_memory()
        generation = self._generation(session, max(1, depth), tokens + 1)
        moments = [time.perf_counter() for _ in generation]
        if len(moments) <= tokens:
            raise ModelError(f"The context is full before {tokens:,} tokens are written; ask for fewer.", "context")
        read = weights_read(self._model.network)
        kept = _bytes_kept(session)
        return Measured(
            moments[-1] - moments[0],
            self._peak(session),
            None if read is None or kept is None else read + kept,
        )

    def turn(self, held: int, new: int) -> Measured:
        """To the first token behind `new` tokens that follow `held` ones, whose keys and values are in memory."""
        session = self._holding(held)
        return self._first_token(lambda: session, held + new, aside=session)

    def restore(self, held: int, new: int) -> Measured:
        """The same, the keys and values in a file. ModelError where the architecture's caches cannot be saved."""
        path = self._folder / "session.safetensors"
        if self._saved != held:
            self._holding(held).save(path, packing=_PACKING)
            self._saved = held
        return self._first_token(lambda: load_session(path, self._model), held + new, aside=None)

    def _first_token(self, opened: Callable[[], Session], tokens: int, aside: Session | None) -> Measured:
        mx.reset_peak_memory()
        began = time.perf_counter()
        session = opened()
        for _ in self._generation(session, tokens, 1):
            pass
        return Measured(time.perf_counter() - began, self._peak(aside))

    def _generation(self, session: Session, tokens: int, answer: int) -> Generation:
        """An answer that no token ends."""
        vocabulary = self._model.traits.vocabulary
        return Generation(
            session,
            prompt(tokens, vocabulary),
            Sampling(temperature=0),
            vocabulary=vocabulary,
            max_tokens=answer,
        )

    def _holding(self, tokens: int) -> Session:
        """A session that holds the prompt of so many tokens and, where its caches can go back, nothing behind it."""
        session = self._held.setdefault(tokens, self._model.session())
        session.prefill(prompt(tokens, self._model.traits.vocabulary))
        return session

    def _peak(self, used: Session | None) -> int:
        aside = sum(session.nbytes for session in self._held.values() if session is not used)
        return mx.get_peak_memory() - aside


def weights_read(network: Any) -> int | None:
    """Bytes of the weights that one token needs. None where experts take turns: then nobody knows which."""
    parameters: Any = tree_flatten(network.parameters())
    stacked = {name for name, module in network.named_modules() if isinstance(module, Stacked)}
    if any(
        array.ndim > 2
        for name, array in parameters
        if name.endswith("weight") and "conv" not in name and name.rpartition(".")[0] not in stacked
    ):
        return None
    has_head = any(_HEADS & {*name.split(".")} for name, _ in parameters)
    looked_up = {
        name
        for name, module in network.named_modules()
        if has_head and isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
    }
    return sum(int(array.nbytes) for name, array in parameters if name.rpartition(".")[0] not in looked_up)


def number_type(network: Any) -> str:
    """What is computed in: the type of weights that are not packed, as "bfloat16"."""
    parameters: Any = tree_flatten(network.parameters())
    found = next(array.dtype for _, array in parameters if mx.issubdtype(array.dtype, mx.floating))
    return str(found).removeprefix("mlx.core.")


def packed_bits(network: Any) -> int | None:
    """Bits of a packed weight, of most of the matrices; None where none is packed."""
    bits = [module.bits for _, module in network.named_modules() if isinstance(module, nn.QuantizedLinear)]
    return mode(bits) if bits else None


def _bytes_kept(session: Session) -> int | None:
    """Bytes of the keys and values that are held, without room to grow."""
    try:
        return session.held()
    except ModelError:
        return None


def bandwidth(size: int) -> Measured:
    """How fast the device reads an array of `size` bytes: by adding it up, or by a product with a vector as writing an
    answer takes it, whichever is faster. `read` has the bytes of all times that it was read."""
    columns = 4096
    matrix, vector = mx.ones((max(1, size // (4 * columns)), columns)), mx.ones((columns,))
    mx.eval(matrix, vector)
    mx.reset_peak_memory()
    read = [_read(matrix.nbytes, way) for way in (lambda: matrix.sum(), lambda: products.times(vector, matrix))]
    return min(read, key=lambda measured: measured.seconds / (measured.read or 1))


def _read(size: int, way: Callable[[], mx.array]) -> Measured:
    """`way`, which reads so many bytes, as often as it takes to be measured, and once before that."""
    mx.eval(way())
    times = max(1, min(_MOST, int(_ENOUGH / _seconds(way, 1))))
    return Measured(_seconds(way, times), mx.get_peak_memory(), times * size)


def _seconds(way: Callable[[], mx.array], times: int) -> float:
    """How long it takes so many times, queued without waiting for each."""
    began = time.perf_counter()
    for _ in range(times):
        result = way()
        mx.async_eval(result)
    mx.eval(result)
    return time.perf_counter() - began
