"""Several answers to one prompt, written side by side: the weights are read once a step for all of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx

from model.cache import CacheOptions
from model.errors import ModelError
from model.language_model import LanguageModel
from model.sampling import Sampler, Sampling, token_id


def answers(
    language_model: LanguageModel,
    prompt: Sequence[int],
    count: int,
    sampling: Sampling,
    max_tokens: int,
) -> list[list[int]]:
    """`count` answers to `prompt`, the ids of each without the one that ended it.

    Each row equals the answer that would have been written alone with its seed: the sampling's plus the row's number,
    where it has one. ModelError("request") where there is nothing to continue or to write, or an id is no token;
    ModelError("context") for a prompt that leaves no room.
    """
    traits = language_model.traits
    if not prompt or count < 1 or max_tokens < 1:
        raise ModelError(
            f"{count} answers of {max_tokens:,} tokens to a prompt of {len(prompt):,} are nothing to write; "
            "ask for one at least.",
            "request",
        )
    language_model.check(prompt)
    if len(prompt) + max_tokens > traits.context:
        raise ModelError(
            f"A prompt of {len(prompt):,} tokens and answers of {max_tokens:,} do not fit in {traits.name}'s context "
            f"of {traits.context:,}; shorten one of them.",
            "context",
        )
    samplers = [
        Sampler(
            replace(sampling, seed=None if sampling.seed is None else sampling.seed + row),
            traits.vocabulary,
            prompt,
            uncounted=language_model.uncounted,
        )
        for row in range(count)
    ]
    ends = language_model.ends
    network = language_model.network
    caches: list[Any] = network.make_cache(CacheOptions())
    tokens = mx.array([list(prompt)] * count)
    chunk = traits.choices.chunk
    for start in range(0, len(prompt), chunk):
        logits = network(tokens[:, start : start + chunk], caches, last=1)[:, -1]
        mx.eval(logits, [cache.state for cache in caches])
    written: list[list[int]] = [[] for _ in range(count)]
    going = set(range(count))
    for _ in range(max_tokens):
        # A row that has ended is fed its last token on: cheaper than taking it out of every cache.
        chosen = mx.stack([sampler(row) for sampler, row in zip(samplers, logits, strict=True)])
        mx.eval(chosen)
        for row in tuple(going):
            token = token_id(chosen[row])
            if token in ends:
                going.discard(row)
            else:
                written[row].append(token)
        if not going:
            break
        logits = network(chosen[:, None], caches, last=1)[:, -1]
    return written
