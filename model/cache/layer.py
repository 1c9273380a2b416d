"""What every layer's cache can do, and what a session does to all of them at once."""

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx

from model.layers.attention import Mask


class LayerCache(Protocol):
    """The cache of one layer. Keys and values are (batch, kv_heads, length, head_dim)."""

    offset: int
    """Tokens seen so far; the position of the next one."""

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append, and return the keys and values that the new positions may look at, oldest first."""

    def make_mask(self, length: int) -> Mask:
        """The mask for `length` new tokens over what `update_and_fetch` will return for them. Ask before updating."""

    @property
    def state(self) -> Any:
        """The arrays that hold the cache, for evaluation."""

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""

    def is_trimmable(self) -> bool:
        """Whether any token can be taken back."""

    def trim(self, count: int) -> int:
        """Forget the last `count` tokens. Returns how many were forgotten: `count`, or 0 with nothing changed."""


def rewindable(cache: Any) -> int:
    """How many tokens `cache` can forget and then be as if it had never seen them."""
    own = getattr(cache, "rewindable", None)  # ours know; mlx-lm's say yes or no for all they hold
    if own is not None:
        return int(own)
    return int(cache.offset) if cache.is_trimmable() else 0


def rewind(caches: Sequence[Any], count: int) -> bool:
    """Forget the last `count` tokens in every layer, or in none: False where one of them cannot."""
    if any(rewindable(cache) < count for cache in caches):
        return False
    for cache in caches:
        if cache.trim(count) != count:
            raise RuntimeError(f"{type(cache).__name__} promised to forget {count} tokens and did not")
    return True
