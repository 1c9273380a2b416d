"""From logits to the next token.

The order is transformers' (generation/logits_process.py and its defaults): repetition penalty over the whole context,
temperature, top-k, top-p, min-p. Every filter keeps ties, so what is kept does not depend on how a sort breaks them.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from model.errors import ModelError

_NEVER = -math.inf


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy: the most likely token, whatever the filters say."""

    temperature: float = 1.0
    top_k: int = 0
    """Keep the k most likely; 0 keeps all."""
    top_p: float = 1.0
    """Keep the most likely tokens until their mass reaches p (Holtzman et al. 2019); 1 keeps all."""
    min_p: float = 0.0
    """Keep what is at least min_p times as likely as the most likely token; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of every token of the context (Keskar et al. 2019); 1 is off."""
    seed: int | None = None
    """The same seed, prompt and settings give the same answer. None draws a new one."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_k", 0, 2**31),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", 0.01, 100.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:  # also false for NaN
                raise ModelError(f"{name} is {value}; it must lie between {low} and {high}.", "request")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


class Sampler:
    """Draws one token after another for one answer; its state is the random key and which tokens the context holds."""

    def __init__(self, sampling: Sampling, vocabulary: int, context: Sequence[int] = ()) -> None:
        """`vocabulary`: ids the tokenizer knows; rows of the logits beyond them are padding and never drawn."""
        self._sampling = sampling
        self._vocabulary = vocabulary
        seed = sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(4), "big")
        self._key = mx.random.key(seed % 2**64)
        self._seen: mx.array | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = mx.zeros(vocabulary, mx.bool_)
            known = [token for token in set(context) if token < vocabulary]
            if known:
                self._seen[mx.array(known)] = True

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token, a scalar array not evaluated yet, for `logits` (vocab,)."""
        logits = logits[: self._vocabulary].astype(mx.float32)
        if self._seen is not None:
            penalty = self._sampling.repetition_penalty
            penalised = mx.where(logits < 0, logits * penalty, logits / penalty)
            logits = mx.where(self._seen, penalised, logits)
        if self._sampling.greedy:
            token = mx.argmax(logits)
        else:
            self._key, key = mx.random.split(self._key)
            token = mx.random.categorical(filtered(logits, self._sampling), key=key)
        if self._seen is not None:
            self._seen[token] = True
        return token


def filtered(logits: mx.array, sampling: Sampling) -> mx.array:
    """`logits` (vocab,) float32 over the temperature, with -inf for every token that the filters leave out."""
    logits = logits / sampling.temperature
    threshold: mx.array | None = None
    if 0 < sampling.top_k < logits.size:
        threshold = mx.topk(logits, sampling.top_k).min()
        logits = mx.where(logits < threshold, _NEVER, logits)
    if sampling.top_p < 1.0:
        # What top-k left is all that can matter, but for ties with its last: they only share that last threshold.
        few = 0 < sampling.top_k < logits.size
        ranked = mx.sort(mx.topk(logits, sampling.top_k) if few else logits)[::-1]
        probabilities = mx.exp(ranked - mx.logsumexp(logits))
        before = mx.cumsum(probabilities) - probabilities
        kept = (before < sampling.top_p) | (mx.arange(ranked.size) == 0)
        smallest = mx.where(kept, ranked, math.inf).min()
        logits = mx.where(logits < smallest, _NEVER, logits)
    if sampling.min_p > 0.0:
        logits = mx.where(logits < logits.max() + math.log(sampling.min_p), _NEVER, logits)
    return logits
