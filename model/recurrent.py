"""What language models without attention have in common: the states before the tokens in, those after them out.

What a state is, and what is computed with it, is each architecture's own.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn

from model.cache import CacheOptions, RecurrentCache
from model.choices import Choices
from model.errors import ModelError
from model.layers.products import unpacked_from

State = tuple[mx.array, ...]
"""What a layer remembers; its arrays are as large after any number of tokens, the batch their first axis."""


class RecurrentModel(nn.Module):
    """A language model of layers that remember in states, as `model.network.Network` asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self._step: Callable[..., tuple[mx.array, list[State]]] | None = None
        """A pass over one token, compiled; None where it is not to be."""

    @abstractmethod
    def run(self, tokens: mx.array, states: Sequence[State], last: int | None = None) -> tuple[mx.array, list[State]]:
        """Logits (batch, length or `last`, vocab) for token ids (batch, length), and each layer's state after them."""

    @abstractmethod
    def empty(self, batch: int) -> list[State]:
        """Each layer's state before the first token."""

    def __call__(
        self, tokens: mx.array, caches: Sequence[RecurrentCache] | None = None, last: int | None = None
    ) -> mx.array:
        """Logits (batch, length, vocab) for token ids (batch, length); for the `last` positions only, where asked."""
        states = self.empty(len(tokens))
        if caches is not None:
            states = [cache.arrays or empty for cache, empty in zip(caches, states, strict=True)]
        if self._step is not None and tokens.shape[1] == 1:
            logits, states = self._step(tokens, states)
        else:
            logits, states = self.run(tokens, states, last)
        for cache, state in zip(caches or (), states, strict=False):
            cache.advance(state, tokens.shape[1])
        return logits

    def arrange(self, choices: Choices) -> None:
        """Be computed as `choices` say. To be called once, when the weights are in their places."""
        unpacked_from(self, choices.unpack)
        if choices.compiled:
            # The whole of a step: a state is as large after it as before, so that nothing in it has to be copied.
            self._step = mx.compile(self.run)

    def make_cache(self, options: CacheOptions) -> list[RecurrentCache]:
        """A state for each layer, empty. ModelError("request") for options that only keys and values have."""
        if options.quantisation or options.rolling_window is not None:
            raise ModelError(
                "RWKV keeps no keys and values: its state has one size, however long a conversation is; turn the "
                "quantised or rolling cache off for it.",
                "request",
            )
        return [RecurrentCache(empty) for empty in self.empty(1)]
