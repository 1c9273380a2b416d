"""Whether a model fits in this machine's memory, told before it is fetched or loaded.

`model.memory` foretells what MLX takes of it; what the process takes besides is added here, and the sum is held against
what the device may be given and what is free now. It knows neither MLX nor what is loaded now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from app.library.machine import Backend, Machine
from app.sizes import size
from model import memory
from model.config import Config, LayerQuantization, Quantization
from model.memory import BackEnd, KvBits

if TYPE_CHECKING:
    from app.library.catalogue import Offer
    from app.library.hub import Found
    from app.library.local import InstalledModel

Verdict = Literal["fits", "tight", "too big"]

BACK_ENDS: Mapping[Backend, BackEnd] = MappingProxyType({"CPU": memory.CPU, "CUDA": memory.CUDA, "Metal": memory.METAL})
RESERVE: Mapping[Backend, int] = MappingProxyType({"CPU": 256 * 1024**2, "CUDA": 1024**3, "Metal": 512 * 1024**2})
"""Bytes for the interpreter, MLX's kernels and its buffer cache. Measured beside MLX's peak by
`python -m tests.benchmarks.fit`: 33 to 91 MB with a CPU, to which a worker's tokenizer comes; 0.6 to 1.0 GB on an H100.
With Metal never measured."""
COMFORT = 0.8
"""The share of the budget up to which a model fits without crowding anything else."""
USUAL_CONTEXT = 8192
"""Tokens a conversation seldom leaves; what fit is judged at unless something else is asked."""
_LEAST_CONTEXT = 1024
"""Tokens below which a context is not worth being offered."""
_UNKNOWN_KV = 128 * 1024
"""Bytes a token, where the shape is unknown: that of an 8B model with 8 KV heads, in 16 bits."""
_UNKNOWN_WORKSPACE = 256 * 1024**2
_OFFERED: tuple[Literal[8, 4], ...] = (8, 4)
"""Bits that a model too big may be quantised to, in groups of 64."""


@dataclass(frozen=True)
class Need:
    """Bytes a loaded model takes, by what takes them."""

    weights: int
    kv: int
    state: int
    """Of a recurrent model, which has no `kv`: the same at any context."""
    workspace: int
    reserve: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.state + self.workspace + self.reserve


@dataclass(frozen=True)
class Fit:
    """The verdict on one model at one context. Sizes in bytes, contexts in tokens."""

    verdict: Verdict
    need: Need
    budget: int
    """What the device may be given: on Metal the recommended working set, else what is free."""
    free: int
    """What can be had now without pushing others out."""
    context: int
    """What the verdict is for."""
    longest: int
    """The longest that would still be within the budget; 0 where not even an empty one is, `UNBOUNDED` where every
    one is."""
    roomy: int
    """The longest that would fit with room to spare; 0 where none does."""
    bits: Literal[4, 8] | None
    """Where it is too big: the most bits a weight with which it would not be, None where none would do."""
    trained: int
    """Of the longest texts that the model was trained on; 0 where that is not known."""
    sentence: str


def need(
    weights: int,
    config: Config | None,
    context: int,
    backend: Backend = "Metal",
    installed: int = 0,
    kv: KvBits | None = None,
) -> Need:
    """Bytes for `weights` bytes of weights and `context` tokens, on a machine that has `installed` bytes of memory.

    `kv`: bits of quantised keys and values. 0 for `weights` leaves them to be computed from the shape. With a shape
    that is unknown, cache and workspace are those of a larger model than most.
    """
    back_end = BACK_ENDS[backend]
    if config is None:
        token = _UNKNOWN_KV if back_end.gpu else 2 * _UNKNOWN_KV
        return Need(weights, context * token, 0, _UNKNOWN_WORKSPACE, RESERVE[backend])
    taken = memory.taken(config, context, back_end, installed, kv_bits=kv)
    as_stored = back_end.gpu and weights  # a CPU changes them on the way in
    return Need(weights if as_stored else taken.weights, taken.kv, taken.state, taken.workspace, RESERVE[backend])


def fit(
    weights: int,
    config: Config | None,
    machine: Machine,
    context: int | None = None,
    name: str = "It",
    *,
    kv: KvBits | None = None,
) -> Fit:
    """Judge a model on a machine, at `context` tokens or what a conversation usually needs. `weights`, `kv`: `need`."""
    most = config.context if config is not None else USUAL_CONTEXT
    tokens = min(context or USUAL_CONTEXT, most)

    def total(tokens: int) -> int:
        return need(weights, config, tokens, machine.backend, machine.memory, kv).total

    needed = need(weights, config, tokens, machine.backend, machine.memory, kv)
    comfortable = min(int(COMFORT * machine.budget), machine.available)
    longest, roomy = (_longest(most, limit, total) for limit in (machine.budget, comfortable))
    verdict: Verdict = "too big"
    if needed.total <= machine.budget:
        verdict = "fits" if needed.total <= comfortable else "tight"
    fewer = _fewer_bits(config, machine, tokens, kv) if verdict == "too big" else None
    grows = f"at {tokens:,} tokens of context" if needed.kv else "however long the context"
    takes = f"{name} takes about {size(needed.total)} {grows}"
    return Fit(
        verdict=verdict,
        need=needed,
        budget=machine.budget,
        free=machine.available,
        context=tokens,
        longest=longest,
        roomy=roomy,
        bits=fewer,
        trained=config.trained if config is not None else 0,
        sentence=f"{takes}{_advice(verdict, machine, needed.total, longest, roomy, fewer)}",
    )


def fit_of(
    model: "InstalledModel | Offer | Found", machine: Machine, context: int | None = None, *, kv: KvBits | None = None
) -> Fit:
    """The verdict on a model that is here, in the catalogue or on the Hub."""
    weights = model.weights or model.size or 0
    if model.config is None and machine.backend == "CPU" and not (model.bits and model.bits < 16):
        weights *= 2  # what is not packed is computed with in float32
    return fit(weights, model.config, machine, context, model.name, kv=kv)


def _advice(verdict: Verdict, machine: Machine, total: int, longest: int, roomy: int, bits: int | None) -> str:
    """The end of the sentence: how that stands to the memory there is, and the way out."""
    budget = size(machine.budget)
    if verdict == "fits":
        return f" and fits in the {budget} there are."
    if verdict == "tight":
        crowded = (
            f"more than the {size(machine.available)} that are free now"
            if total > machine.available
            else f"nearly all of the {budget} there are"
        )
        way_out = "close what you do not need"
        return f", {crowded}: {way_out}" + (f", or stay below {roomy:,} tokens." if roomy >= _LEAST_CONTEXT else ".")
    ways = [f"up to {longest:,} tokens would fit"] if longest >= _LEAST_CONTEXT else []
    ways += [f"quantised to {bits} bits it would fit"] if bits else []
    return f", more than the {budget} there are: {', and '.join(ways) or 'choose a smaller model or fewer bits'}."


def _fewer_bits(config: Config | None, machine: Machine, tokens: int, kv: KvBits | None) -> Literal[4, 8] | None:
    """The most bits to which this shape could be quantised and fit; None where it has no more than those already."""
    if config is None:
        return None
    now = config.quantization.default.bits if config.quantization else 16
    for bits in _OFFERED:
        packed = replace(config, quantization=Quantization(LayerQuantization(64, bits)))
        if bits < now and need(0, packed, tokens, machine.backend, machine.memory, kv).total <= machine.budget:
            return bits
    return None


def _longest(most: int, limit: int, total: Callable[[int], int]) -> int:
    """The most tokens, of `most`, that take no more than `limit`."""
    low, high = 0, most
    if total(0) > limit:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if total(middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low
