"""Whether a model fits in this machine's memory, told before it is fetched or loaded.

An estimate from sizes and shapes alone: weights as stored, KV cache at the chosen context, the activations of
one prefill chunk, and what MLX and Python take besides. It knows neither MLX nor what is loaded now.
"""

from dataclasses import dataclass
from typing import Literal

from app.library.machine import Machine
from model.config import Config
from model.facts import kv_bytes

Verdict = Literal["fits", "tight", "too big"]

RESERVE = 512 * 1024**2
"""Bytes for the interpreter, MLX's kernels and its buffer cache."""
CHUNK = 2048
"""Tokens that one prefill step reads at most."""
COMFORT = 0.8
"""The share of the budget up to which a model fits without crowding anything else."""
USUAL_CONTEXT = 8192
"""Tokens a conversation seldom leaves; what fit is judged at unless something else is asked."""
_UNKNOWN_KV = 128 * 1024
"""Bytes a token, where the shape is unknown: that of an 8B model with 8 KV heads."""


@dataclass(frozen=True)
class Need:
    """Bytes a loaded model takes, by what takes them."""

    weights: int
    kv: int
    workspace: int
    reserve: int = RESERVE

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.workspace + self.reserve


@dataclass(frozen=True)
class Fit:
    """The verdict on one model at one context."""

    verdict: Verdict
    need: Need
    budget: int
    context: int
    """Tokens the verdict is for."""
    longest: int
    """Tokens that would still be within the budget; 0 where not even an empty context is."""
    sentence: str


def need(weights: int, config: Config | None, context: int, element: int = 2) -> Need:
    """Bytes for `weights` bytes of weights and `context` tokens; `element` is bytes a number (CPU: 4)."""
    if config is None:
        return Need(weights, context * _UNKNOWN_KV * element // 2, RESERVE // 2)
    rows = min(CHUNK, max(context, 1))
    widest = 8 * config.hidden_size + 3 * config.intermediate_size
    logits = config.vocab_size * 4 * 2
    return Need(weights, kv_bytes(config, context, element), rows * widest * element + logits)


def fit(weights: int, config: Config | None, machine: Machine, context: int | None = None, name: str = "It") -> Fit:
    """Judge a model on a machine, at `context` tokens or what a conversation usually needs."""
    element = 4 if machine.backend == "CPU" else 2
    most = config.context if config is not None else USUAL_CONTEXT
    tokens = min(context or USUAL_CONTEXT, most)
    needed = need(weights, config, tokens, element)
    budget = machine.budget
    longest = _longest(weights, config, budget, most, element)
    verdict: Verdict = "too big"
    if needed.total <= budget:
        verdict = "fits" if needed.total <= COMFORT * budget else "tight"
    takes = f"{name} takes about {gib(needed.total)} at {tokens:,} tokens of context"
    if verdict == "fits":
        sentence = f"{takes} and fits in the {gib(budget)} there are."
    elif verdict == "tight":
        sentence = f"{takes}, nearly all of the {gib(budget)} there are: close what you do not need."
    elif longest >= 1024:
        sentence = f"{takes}, more than the {gib(budget)} there are: up to {longest:,} tokens would fit."
    else:
        sentence = f"{takes}, more than the {gib(budget)} there are: choose a smaller model or fewer bits."
    return Fit(verdict, needed, budget, tokens, longest, sentence)


def gib(size: int) -> str:
    """A size as a person reads it, in binary units."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 // 10 else f"{size / 1024**2:.0f} MiB"


def _longest(weights: int, config: Config | None, budget: int, most: int, element: int) -> int:
    low, high = 0, most
    if need(weights, config, 0, element).total > budget:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        if need(weights, config, middle, element).total <= budget:
            low = middle
        else:
            high = middle - 1
    return low
