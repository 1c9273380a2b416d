"""The cache of a layer with full attention: it keeps everything and forgets from the end."""

from collections.abc import Mapping

import mlx.core as mx

from model.allocation import grown
from model.cache.key_values import Fetched, KeyValues
from model.cache.layer import Snapshot
from model.cache.rows import KVQuantisation
from model.layers.attention import Mask, causal_mask


def masked(mask: Mask, queries: int, keys: int, return_array: bool) -> Mask:
    """`mask`, as booleans (queries, keys) where the caller wants an array."""
    if not return_array or isinstance(mask, mx.array):
        return mask
    return mx.arange(keys)[None] <= mx.arange(keys - queries, keys)[:, None]


class FullCache:
    """Keys and values of every position, in buffers that grow by an eighth, so that appending costs O(1) amortised.

    A snapshot of it is a position, void once the cache was trimmed below.
    """

    def __init__(self, quantisation: KVQuantisation | None = None) -> None:
        self.offset = 0
        self._quantisation = quantisation
        self._stored: KeyValues | None = None

    def append(self, *rows: mx.array) -> Fetched:
        stored, start = self._room(self._stored or KeyValues.like(rows, self._quantisation, 0), rows[0].shape[2])
        stored.write(start, rows)
        return stored.fetched(0, self.offset)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Fetched:
        return self.append(keys, values)

    def _room(self, stored: KeyValues, length: int) -> tuple[KeyValues, int]:
        """Buffers with room for `length` more positions, which count from now on, and the row where they begin."""
        start, self.offset = self.offset, self.offset + length
        if self.offset > stored.capacity:
            stored = stored.moved(0, start, grown(self.offset))
            if start:
                stored.settle()
        self._stored = stored
        return stored, start

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Mask:
        keys = self.offset + length
        return masked(causal_mask(length, keys, window_size), length, keys, return_array)

    @property
    def state(self) -> list[mx.array]:
        return self._stored.state if self._stored else []

    @property
    def nbytes(self) -> int:
        return self._stored.nbytes if self._stored else 0

    @property
    def rewindable(self) -> int:
        return self.offset

    def is_trimmable(self) -> bool:
        return self.offset > 0

    def trim(self, count: int) -> int:
        if count > self.offset:
            return 0
        self.offset -= count
        return count

    def snapshot(self) -> Snapshot:
        return Snapshot(self.offset)

    def restore(self, snapshot: Snapshot) -> bool:
        if snapshot.offset > self.offset:
            return False
        self.offset = snapshot.offset
        return True

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        return {"offset": self.offset}, self._stored.dump(0, self.offset) if self._stored else {}

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        self._stored = KeyValues.loaded(arrays, self._quantisation, 0, numbers["offset"])
        self.offset = numbers["offset"]
