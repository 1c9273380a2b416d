"""From logits to the next token, and what else it could have been.

The order is transformers' (generation/logits_process.py and its defaults): repetition penalty over the whole context,
temperature, top-k, top-p, min-p. Behind the first come the penalties on what the answer holds, as RWKV's own sampler
has them. Every filter keeps ties, so what is kept does not depend on how a sort breaks them.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from model.compiling import on_gpu
from model.errors import ModelError

_NEVER = -math.inf
_NONE = -1
"""Drawn where the logits are no numbers: found out on the device and read with the id, so that nobody waits for it."""


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
    presence_penalty: float = 0.0
    """Taken from the logits of every token that the answer holds; 0 is off."""
    frequency_penalty: float = 0.0
    """Taken from them for each time that it holds them."""
    penalty_decay: float = 1.0
    """What a time counts for after each further token, as a part of what it did before; 1 forgets none."""
    seed: int | None = None
    """The same seed, prompt and settings give the same answer. None draws a new one."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_k", 0, 2**31),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", 0.01, 100.0),
            ("presence_penalty", -100.0, 100.0),
            ("frequency_penalty", -100.0, 100.0),
            ("penalty_decay", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:  # also false for NaN
                raise ModelError(f"{name} is {value}; it must lie between {low} and {high}.", "request")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


@dataclass(frozen=True)
class Alternative:
    """A token that could come next."""

    token: int
    probability: float
    """By the model alone."""
    share: float
    """Its chance to be drawn; 0 where the filters cut it off."""


@dataclass(frozen=True)
class Alternatives:
    """What could come next, the most probable first: those with the largest chances to be drawn, and of the others the
    most probable ones."""

    tokens: tuple[Alternative, ...]
    kept: int
    """How many the filters keep, named here or not."""
    kept_mass: float
    """The chances, after temperature and before the filters, of what these keep."""


_HELD = 1e-30
"""What a count never falls below: how little of it may be left, the answer holds the token."""


@dataclass(frozen=True)
class Past:
    """What the penalties go by, as far as any is on. Another one stands behind each token; none is ever changed."""

    sampling: Sampling
    vocabulary: int
    seen: mx.array | None
    """(vocabulary,) of truths: what the whole context holds."""
    counts: mx.array | None
    """(vocabulary,) float32: how often the answer holds each token, decayed."""
    uncounted: frozenset[int]

    @classmethod
    def of(
        cls,
        sampling: Sampling,
        vocabulary: int,
        context: Sequence[int] = (),
        answered: int = 0,
        uncounted: frozenset[int] = frozenset(),
    ) -> "Past":
        """Behind `context`, of which the last `answered` tokens are the answer's; of `uncounted` ids (digits,
        say) it counts that the answer holds them, and not how often."""
        seen = seen_in(context, vocabulary) if sampling.repetition_penalty != 1.0 else None
        counts = None
        if sampling.presence_penalty or sampling.frequency_penalty:
            counted = [0.0] * vocabulary
            for behind, token in enumerate(context[: -answered - 1 : -1]):
                if token < vocabulary:
                    counted[token] += max(sampling.penalty_decay**behind if token not in uncounted else 0, _HELD)
            counts = mx.array(counted, mx.float32)
        return cls(sampling, vocabulary, seen, counts, uncounted)

    def __bool__(self) -> bool:
        return self.seen is not None or self.counts is not None

    def after(self, token: mx.array) -> "Past":
        """With one more token of the answer."""
        seen, counts = self.seen, self.counts
        if seen is not None:
            seen = mx.put_along_axis(seen, token.reshape(1), mx.array(True), 0)
        if counts is not None:
            left = mx.maximum(counts * self.sampling.penalty_decay, mx.minimum(counts, _HELD))
            counts = left.at[token].add(self._weight(token))
        return replace(self, seen=seen, counts=counts)

    def _weight(self, token: mx.array) -> mx.array:
        if not self.uncounted:
            return mx.array(1.0)
        return mx.where((mx.array(sorted(self.uncounted)) == token).any(), _HELD, 1.0)

    def penalised(self, logits: mx.array) -> mx.array:
        """`logits` (vocabulary,) float32, with those of what was there before less likely."""
        sampling = self.sampling
        if self.seen is not None:
            penalty = sampling.repetition_penalty
            logits = mx.where(self.seen, mx.where(logits < 0, logits * penalty, logits / penalty), logits)
        if self.counts is not None:
            less = sampling.presence_penalty + sampling.frequency_penalty * self.counts
            logits = mx.where(self.counts > 0, logits - less, logits)
        return logits


class Sampler:
    """Draws one token after another for one answer; its state is the random key and what the penalties go by."""

    def __init__(
        self,
        sampling: Sampling,
        vocabulary: int,
        context: Sequence[int] = (),
        drawn: int = 0,
        uncounted: frozenset[int] = frozenset(),
    ) -> None:
        """`vocabulary`: ids the tokenizer knows; rows of the logits beyond them are padding and never drawn.

        `drawn`: how many of the answer's tokens the context ends with: what a seed gives goes on behind them.
        `uncounted` as in `Past.of`.
        """
        self._sampling = sampling
        self._vocabulary = vocabulary
        seed = sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(4), "big")
        self._key = mx.random.key(seed % 2**64)
        if sampling.seed is not None and not sampling.greedy:
            for _ in range(drawn):
                self._key, _ = mx.random.split(self._key)
        self._past = Past.of(sampling, vocabulary, context, drawn, uncounted)

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token for `logits` (vocab,) of any float type: a scalar array, not evaluated yet, for `token_id`."""
        if logits.size > self._vocabulary:
            logits = logits[: self._vocabulary]
        if self._sampling.greedy and not self._past:
            best: mx.array = on_gpu(_greedy, otherwise=_greedy)(logits)
            return best
        logits = self._past.penalised(logits.astype(mx.float32))
        if self._sampling.greedy:
            token = mx.argmax(logits)
        else:
            self._key, key = mx.random.split(self._key)
            token = mx.random.categorical(filtered(logits, self._sampling), key=key)
        self._past = self._past.after(token)
        return _sound(token, logits)

    @property
    def state(self) -> tuple[mx.array, Past]:
        """What the next draw depends on, for `restore`."""
        return self._key, self._past

    def restore(self, state: tuple[mx.array, Past]) -> None:
        """Draw from now on as from then on."""
        self._key, self._past = state


def _greedy(logits: mx.array) -> mx.array:
    return _sound(mx.argmax(logits), logits)


def _sound(token: mx.array, logits: mx.array) -> mx.array:
    """`token`, or `_NONE` where the logits are no numbers: the largest is NaN where any is, and infinite where none or
    too much can be said."""
    return mx.where(mx.isfinite(logits.max()), token.astype(mx.int32), _NONE)


def token_id(token: mx.array) -> int:
    """The value of a scalar token array, waiting for it where it is not there yet.

    ModelError where the logits it was drawn from were no numbers.
    """
    value = token.item()
    assert isinstance(value, int)
    if value == _NONE:
        raise _no_number()
    return value


def _no_number() -> ModelError:
    return ModelError(
        "The model computed no number from which a token could be drawn; choose another number type for it, "
        "or download it again."
    )


def seen_in(context: Sequence[int], vocabulary: int) -> mx.array:
    """Which tokens `context` holds: (vocabulary,) of truths."""
    seen = mx.zeros(vocabulary, mx.bool_)
    known = [token for token in set(context) if token < vocabulary]
    if known:
        seen[mx.array(known)] = True
    return seen


def filtered(logits: mx.array, sampling: Sampling) -> mx.array:
    """Scores (vocab,) float32 to draw by: `logits` over the temperature, -inf for what the filters leave out.

    The best has score 0, so that no temperature, however low, makes two of them infinite.
    """
    scores = (logits - logits.max()) / sampling.temperature
    few = 0 < sampling.top_k < scores.size
    if few:
        scores = mx.where(scores < mx.topk(scores, sampling.top_k).min(), _NEVER, scores)
    if sampling.top_p < 1.0:
        # What top-k left is all that can matter, but for ties with its last: they only share that last threshold.
        ranked = mx.sort(mx.topk(scores, sampling.top_k) if few else scores)[::-1]
        probabilities = mx.exp(ranked - mx.logsumexp(scores))
        before = mx.cumsum(probabilities) - probabilities
        kept = (before < sampling.top_p) | (mx.arange(ranked.size) == 0)
        smallest = mx.where(kept, ranked, math.inf).min()
        scores = mx.where(scores < smallest, _NEVER, scores)
    if sampling.min_p > 0.0:
        scores = mx.where(scores < math.log(sampling.min_p), _NEVER, scores)
    return scores


def explain(logits: mx.array, past: Past, chosen: int, *, most_kept: int = 40, most_cut: int = 10) -> Alternatives:
    """What a Sampler with this `past` would draw from for `logits`.

    Of what the filters keep it names `most_kept`, of what they cut off `most_cut`, and `chosen` is always among them.
    ModelError where the logits are no numbers.
    """
    sampling = past.sampling
    plain = logits[: past.vocabulary].astype(mx.float32)
    scores = past.penalised(plain)
    if not mx.isfinite(scores.max()).item():
        raise _no_number()
    if sampling.greedy:
        warm = drawn_by = mx.where(mx.arange(scores.size) == mx.argmax(scores), 0.0, _NEVER)
    else:
        warm = (scores - scores.max()) / sampling.temperature
        drawn_by = filtered(scores, sampling)
    kept = drawn_by > _NEVER
    probabilities, shares = mx.softmax(plain), mx.softmax(drawn_by)
    named = {
        *_best(mx.where(kept, drawn_by, _NEVER), most_kept, chosen),
        *_best(mx.where(kept, _NEVER, plain), most_cut, chosen),
    }
    tokens = sorted(named)
    places = mx.array(tokens)
    told = map(Alternative, tokens, _numbers(probabilities[places]), _numbers(shares[places]))
    return Alternatives(
        tokens=tuple(sorted(told, key=lambda one: (-one.probability, -one.share, one.token))),
        kept=int(_number(kept.sum())),
        kept_mass=_number(mx.where(kept, mx.softmax(warm), 0.0).sum()),
    )


def _best(scores: mx.array, most: int, chosen: int) -> list[int]:
    """The ids of the `most` highest scores that are not -inf; `chosen` takes the last place where it has one."""
    order = mx.argsort(-scores)[:most]
    ranked = zip(_numbers(order), _numbers(scores[order]), strict=True)
    best = [int(token) for token, score in ranked if score > _NEVER]
    if chosen not in best and _number(scores[chosen]) > _NEVER:
        best[most - 1 :] = [chosen]
    return best


def _numbers(values: mx.array) -> list[float]:
    numbers: Any = values.tolist()
    return [float(number) for number in numbers]


def _number(value: mx.array) -> float:
    (number,) = _numbers(value.reshape(1))
    return number
