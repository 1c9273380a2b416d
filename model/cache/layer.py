"""What every layer's cache can do, and what a session does to all of them at once."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx

from model.allocation import SLACK
from model.cache.key_values import Fetched
from model.cache.rows import KVQuantisation
from model.errors import ModelError
from model.layers.attention import Mask


@dataclass(frozen=True)
class CacheOptions:
    """How a session keeps what it has seen. The defaults are for everyone, the others for those who ask."""

    quantisation: KVQuantisation | None = None
    """Keys and values in fewer bits; None keeps them as they are."""
    rolling_window: int | None = None
    """Layers with full attention see this many tokens only, the first `sinks` beside them (arXiv 2309.17453)."""
    sinks: int = 4
    slack: int = SLACK
    """Positions that sliding layers keep beyond their window, so that the last ones can be taken back exactly."""


@dataclass(frozen=True)
class Snapshot:
    """A layer's cache as it was at `offset`. Arrays in it are copies: what is written later does not reach them."""

    offset: int
    content: Any = None
    nbytes: int = 0


class LayerCache(Protocol):
    """What one layer holds of a conversation, as a session wants it."""

    offset: int
    """Tokens seen so far; the position of the next one."""

    @property
    def state(self) -> Any:
        """The arrays that hold the cache, for evaluation."""

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""

    @property
    def rewindable(self) -> int:
        """How many tokens it can forget and then be as if it had never seen them."""

    def is_trimmable(self) -> bool:
        """Whether any token can be taken back."""

    def trim(self, count: int) -> int:
        """Forget the last `count` tokens. Returns how many were forgotten: `count`, or 0 with nothing changed."""

    def snapshot(self) -> Snapshot:
        """The cache as it is now, to `restore` later."""

    def restore(self, snapshot: Snapshot) -> bool:
        """Be as at the snapshot, which must lie on the tokens held now: where that is a position, what stands before
        it is not looked at. False, with nothing changed, where the cache does not reach it.
        """

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        """Numbers and arrays from which `load` makes an equal cache. ModelError("request") where there is no way."""

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        """Become the cache that was dumped. KeyError or ValueError where the parts are not all there or do not fit."""


class AttentionCache(LayerCache, Protocol):
    """The same for a layer with attention. Keys and values are (batch, kv_heads, length, head_dim)."""

    def append(self, *rows: mx.array) -> Fetched:
        """Append keys and values, or one array with the heads of the keys before those of the values, and return the
        keys and values that the new positions may look at, oldest first.

        As they come first they are kept: in a buffer each, or in one while they are small.
        """

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Fetched:
        """The same by the name that mlx-lm's models call."""

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Mask:
        """The mask for `length` new tokens over what `update_and_fetch` will return for them. Ask before updating.

        `window_size` narrows it further; with `return_array` the causal mask is booleans too. mlx-lm's models ask so.
        """


class ForeignCache:
    """A cache of mlx-lm that ours cannot stand in for, as a session wants it: rewound by copies.

    `inner` is theirs: their modules look inside, so they are given it and not this.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def offset(self) -> int:
        return int(getattr(self.inner, "offset", 0))

    @property
    def state(self) -> Any:
        return self.inner.state

    @property
    def nbytes(self) -> int:
        return int(self.inner.nbytes)

    @property
    def rewindable(self) -> int:
        return self.offset if self.inner.is_trimmable() else 0

    def trim(self, count: int) -> int:
        return int(self.inner.trim(count)) if count else 0  # recurrent ones have no trim at all

    def snapshot(self) -> Snapshot:
        return Snapshot(self.offset, copy.deepcopy(self.inner), self.nbytes)

    def restore(self, snapshot: Snapshot) -> bool:
        self.inner = copy.deepcopy(snapshot.content)
        return True

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        raise ModelError("The caches of this architecture cannot be saved; it is read again instead.", "request")


def rewind(caches: Sequence[LayerCache], count: int) -> bool:
    """Forget the last `count` tokens in every layer, or in none: False where one of them cannot."""
    if any(cache.rewindable < count for cache in caches):
        return False
    for cache in caches:
        if cache.trim(count) != count:
            raise RuntimeError(f"{type(cache).__name__} promised to forget {count} tokens and did not")
    return True
