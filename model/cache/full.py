"""The cache of a layer with full attention: it keeps everything and forgets from the end."""

from collections.abc import Mapping

import mlx.core as mx

from model.allocation import grown
from model.cache.layer import Snapshot
from model.cache.rows import KVQuantisation, Rows, RowsView, fetched, rows_from, rows_like, settle
from model.layers.attention import Mask, causal_mask


def masked(mask: Mask, queries: int, keys: int, return_array: bool) -> Mask:
    """`mask`, as booleans (queries, keys) where the caller wants an array."""
    if not return_array or isinstance(mask, mx.array):
        return mask
    return mx.arange(keys)[None] <= mx.arange(keys - queries, keys)[:, None]


class FullCache:
    """Keys and values of every position, in buffers that grow by half, so that appending costs O(1) amortised.

    A snapshot of it is a position, void once the cache was trimmed below.
    """

    def __init__(self, quantisation: KVQuantisation | None = None) -> None:
        self.offset = 0
        self._quantisation = quantisation
        self._rows: tuple[Rows, Rows] | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array | RowsView, mx.array | RowsView]:
        start, self.offset = self.offset, self.offset + keys.shape[2]
        stored = self._rows or (rows_like(keys, self._quantisation, 0), rows_like(values, self._quantisation, 0))
        if self.offset > stored[0].capacity:
            larger = grown(self.offset)
            stored = stored[0].moved(0, start, larger), stored[1].moved(0, start, larger)
            if start:
                settle(stored)
        self._rows = stored
        stored[0].write(start, keys)
        stored[1].write(start, values)
        return fetched(stored[0], 0, self.offset), fetched(stored[1], 0, self.offset)

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Mask:
        keys = self.offset + length
        return masked(causal_mask(length, keys, window_size), length, keys, return_array)

    @property
    def state(self) -> list[mx.array]:
        return [array for rows in self._rows or () for array in rows.state]

    @property
    def nbytes(self) -> int:
        return sum(rows.nbytes for rows in self._rows or ())

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
        return {"offset": self.offset}, dumped(self._rows, 0, self.offset)

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        self._rows = loaded(arrays, self._quantisation, 0, numbers["offset"])
        self.offset = numbers["offset"]


def dumped(rows: tuple[Rows, Rows] | None, first: int, end: int) -> dict[str, mx.array]:
    """Keys and values from row `first` to `end` as one set of named arrays."""
    if rows is None:
        return {}
    return {
        f"{side}.{name}": array
        for side, buffer in zip(("keys", "values"), rows, strict=True)
        for name, array in buffer.dump(first, end).items()
    }


def loaded(
    arrays: Mapping[str, mx.array], quantisation: KVQuantisation | None, position: int, count: int
) -> tuple[Rows, Rows] | None:
    """What was dumped, its first row standing for `position`. ValueError where it is not `count` rows."""
    if not count:
        return None
    sides = []
    for side in ("keys", "values"):
        parts = {name.removeprefix(f"{side}."): array for name, array in arrays.items() if name.startswith(f"{side}.")}
        rows = rows_from(parts, quantisation, position)
        if rows.capacity < count:
            raise ValueError(f"{rows.capacity} rows of {side} where {count} are needed")
        sides.append(rows)
    return sides[0], sides[1]
