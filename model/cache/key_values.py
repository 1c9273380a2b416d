"""A layer's keys and values together, stored side by side in one buffer or in one each.

A step of decoding that appends to one buffer instead of two queues one operation less in every layer, and queueing is
what takes a small model's time. Kernels that read a long context best want a buffer of its own for either; so a cache
that has grown large is split as it moves. It knows rows, not which positions they stand for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx

from model.allocation import JOINT_BYTES
from model.cache.rows import (
    ALL,
    DenseRows,
    KVQuantisation,
    Rows,
    RowsView,
    copied,
    rows_from,
    rows_like,
)

Fetched = tuple[mx.array | RowsView, mx.array | RowsView]
"""Keys and values for attention: arrays where they are stored as they are, else views."""

_SIDES = ("keys", "values")


@dataclass(frozen=True)
class KeyValues:
    """One buffer (batch, 2 kv_heads, capacity, head_dim) with the heads of the keys first, or two of kv_heads."""

    buffers: tuple[Rows, ...]
    kv_heads: int

    @classmethod
    def joint(cls, rows: mx.array, quantisation: KVQuantisation | None, position: int) -> "KeyValues":
        """Empty, for rows (batch, 2 kv_heads, length, head_dim) like these, the first to stand for `position`."""
        return cls((rows_like(rows, quantisation, position),), rows.shape[1] // 2)

    @classmethod
    def apart(cls, keys: mx.array, values: mx.array, quantisation: KVQuantisation | None, position: int) -> "KeyValues":
        """Empty, for keys and values that come by themselves; their heads may differ in size."""
        buffers = rows_like(keys, quantisation, position), rows_like(values, quantisation, position)
        return cls(buffers, keys.shape[1])

    @classmethod
    def loaded(
        cls, arrays: Mapping[str, mx.array], quantisation: KVQuantisation | None, position: int, count: int
    ) -> "KeyValues | None":
        """What was dumped, its first row standing for `position`; None for nothing. ValueError where it is not `count`
        rows, KeyError where parts are missing."""
        if not count:
            return None
        buffers = []
        for side in _SIDES:
            prefix = f"{side}."
            parts = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            rows = rows_from(parts, quantisation, position)
            if rows.capacity < count:
                raise ValueError(f"{rows.capacity} rows of {side} where {count} are needed")
            buffers.append(rows)
        heads: int = next(iter(buffers[0].state)).shape[1]
        return cls(tuple(buffers), heads)

    @property
    def capacity(self) -> int:
        return self.buffers[0].capacity

    @property
    def state(self) -> list[mx.array]:
        return [array for buffer in self.buffers for array in buffer.state]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers)

    def write(self, start: int, rows: mx.array) -> None:
        """Rows with the heads of the keys first, from row `start` on."""
        if len(self.buffers) == 1:
            self.buffers[0].write(start, rows)
        else:
            self.write_sides(start, rows[:, : self.kv_heads], rows[:, self.kv_heads :])

    def write_sides(self, start: int, keys: mx.array, values: mx.array) -> None:
        """The same for keys and values that come by themselves."""
        if len(self.buffers) == 1:
            self.buffers[0].write(start, mx.concatenate([keys, values], axis=1))
        else:
            for buffer, rows in zip(self.buffers, (keys, values), strict=True):
                buffer.write(start, rows)

    def read(self, start: int, end: int) -> tuple[mx.array, mx.array]:
        """Keys and values from row `start` to `end`."""
        keys, values = (buffer.read(start, end, heads) for buffer, heads in self._sides)
        return keys, values

    def fetched(self, start: int, end: int, before: tuple[mx.array, mx.array] | None = None) -> Fetched:
        """Keys and values for attention, those of `before` first."""
        (keys, of_keys), (values, of_values) = self._sides
        keys_before, values_before = before or (None, None)
        return keys.fetched(start, end, of_keys, keys_before), values.fetched(start, end, of_values, values_before)

    def moved(self, first: int, end: int, capacity: int) -> "KeyValues":
        """A copy, never an alias, of rows `first` to `end` at the beginning of buffers of `capacity` rows."""
        moved: tuple[Rows, ...] = tuple(buffer.moved(first, end, capacity) for buffer in self.buffers)
        if len(moved) == 1 and isinstance(moved[0], DenseRows) and moved[0].nbytes > JOINT_BYTES:
            moved = tuple(DenseRows(copied(rows, capacity)) for rows in self.read(first, end))
        return KeyValues(moved, self.kv_heads)

    def dump(self, first: int, end: int) -> dict[str, mx.array]:
        """Rows `first` to `end` as named arrays, for `loaded`."""
        return {
            f"{side}.{name}": array
            for side, (buffer, heads) in zip(_SIDES, self._sides, strict=True)
            for name, array in buffer.dump(first, end, heads).items()
        }

    def settle(self) -> None:
        """Compute new buffers now. Were they only queued, they would stand beside those whose place they take, and
        those of all layers at once, which move in the same step."""
        mx.eval(self.state)

    @cached_property
    def _sides(self) -> tuple[tuple[Rows, slice], tuple[Rows, slice]]:
        """The buffer that holds the keys, and which of its heads they are; the same for the values."""
        if len(self.buffers) == 1:
            (both,) = self.buffers
            return (both, slice(self.kv_heads)), (both, slice(self.kv_heads, None))
        keys, values = self.buffers
        return (keys, ALL), (values, ALL)
