"""What every architecture offers to what runs it."""

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx

from model.cache import CacheOptions
from model.choices import Choices


class Network(Protocol):
    """Token ids in, logits out; one architecture with its weights."""

    def __call__(self, tokens: mx.array, caches: Sequence[Any] | None = None, last: int | None = None) -> mx.array:
        """Logits (batch, length, vocab) for token ids (batch, length), or for the `last` positions of them.

        With `caches`, the tokens follow what these hold, and are added to them. One cache a layer, from `make_cache`.
        """

    def make_cache(self, options: CacheOptions) -> list[Any]:
        """Fresh, empty caches, one a layer. ModelError("request") for options that the architecture does not have."""

    def arrange(self, choices: Choices) -> None:
        """Be computed as `choices` say, where there is more than one way. Once, with the weights in their places."""
