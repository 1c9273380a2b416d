"""A layer's keys and values together, stored side by side in one buffer or in one each.

A step of decoding that appends to one buffer instead of two queues one operation less in every layer, and queueing is
what takes a small model's time. Kernels that read a long context best want a buffer of its own for either; so a cache
that has grown large is split as it moves. It knows rows, not which positions they stand for.
"""

from collections.abc import Mapping, Sequence
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


def sides(rows: Sequence[mx.array]) -> Sequence[mx.array]:
    """Keys and values of rows that are both already, or one array with the heads of the keys first."""
    return rows if len(rows) == 2 else [*mx.split(rows[0], 2, axis=1)]


@dataclass(frozen=True)
class KeyValues:
    """One buffer (batch, 2 kv_heads, capacity, head_dim) with the heads of the keys first, or two of kv_heads."""

    buffers: tuple[Rows, ...]
    kv_heads: int

    @classmethod
    def like(cls, rows: Sequence[mx.array], quantisation: KVQuantisation | None, position: int) -> "KeyValues":
        """Empty, for rows like these, the first to stand for `position`: one array with the heads of the keys first, or
        keys and values, whose heads may differ in size."""
        buffers = tuple(rows_like(part, quantisation, position) for part in rows)
        return cls(buffers, rows[0].shape[1] * len(buffers) // 2)

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

    @cached_property
    def capacity(self) -> int:
        return self.buffers[0].capacity

    @property
    def state(self) -> list[mx.array]:
        return [array for buffer in self.buffers for array in buffer.state]

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers)

    def write(self, start: int, rows: Sequence[mx.array]) -> None:
        """Rows of either form from row `start` on."""
        if len(rows) != len(self.buffers):
            rows = [mx.concatenate(list(rows), axis=1)] if len(rows) == 2 else sides(rows)
        for buffer, part in zip(self.buffers, rows, strict=True):
            buffer.write(start, part)

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
