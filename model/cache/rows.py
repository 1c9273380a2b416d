"""Storage for keys and values: buffers of positions, kept as they are or quantised.

A buffer is (batch, heads, capacity, head_dim), written in place. It knows rows, not which positions they stand for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

ALL = slice(None)


@dataclass(frozen=True)
class KVQuantisation:
    """MLX's affine quantisation for keys and values, from position `start` on."""

    bits: int = 8
    group_size: int = 64
    start: int = 0
    """Earlier positions are never quantised, later ones before anything attends to them: chunking changes nothing."""


class Rows(Protocol):
    """A buffer of rows. `write` and `read` take row numbers, `moved` starts another buffer with some of the rows."""

    @property
    def capacity(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def state(self) -> list[mx.array]: ...
    def write(self, start: int, rows: mx.array) -> None: ...
    def read(self, start: int, end: int, heads: slice = ALL) -> mx.array: ...
    def fetched(self, start: int, end: int, heads: slice, before: mx.array | None) -> "mx.array | RowsView":
        """The same for attention, behind rows of `before`: a view where they are not stored as they are."""

    def moved(self, first: int, end: int, capacity: int) -> "Rows":
        """A copy, never an alias, of rows `first` to `end` at the beginning of a new buffer of `capacity` rows."""

    def dump(self, first: int, end: int, heads: slice = ALL) -> dict[str, mx.array]:
        """Rows `first` to `end` as they are stored, for `rows_from`."""


def copied(rows: mx.array, capacity: int) -> mx.array:
    """A buffer of its own that begins with `rows` and has room for `capacity`."""
    if rows.shape[2] == capacity:
        return mx.array(rows)  # writing over all of an array would give the slice itself, and keep what it was cut from
    larger = mx.zeros((*rows.shape[:2], capacity, rows.shape[3]), rows.dtype)
    larger[..., : rows.shape[2], :] = rows
    return larger


@dataclass
class DenseRows:
    """Rows as they come."""

    buffer: mx.array

    @classmethod
    def like(cls, rows: mx.array) -> "DenseRows":
        """An empty buffer for rows of this shape and type."""
        return cls(rows[..., :0, :])

    @property
    def capacity(self) -> int:
        return self.buffer.shape[2]

    @property
    def nbytes(self) -> int:
        return self.buffer.nbytes

    @property
    def state(self) -> list[mx.array]:
        return [self.buffer]

    def write(self, start: int, rows: mx.array) -> None:
        self.buffer[:, :, start : start + rows.shape[2]] = rows

    def read(self, start: int, end: int, heads: slice = ALL) -> mx.array:
        return self.buffer[:, heads, start:end]

    def fetched(self, start: int, end: int, heads: slice, before: mx.array | None) -> mx.array:
        recent = self.read(start, end, heads)
        return recent if before is None else mx.concatenate([before, recent], axis=2)

    def moved(self, first: int, end: int, capacity: int) -> "DenseRows":
        return DenseRows(copied(self.read(first, end), capacity))

    def dump(self, first: int, end: int, heads: slice = ALL) -> dict[str, mx.array]:
        return {"rows": self.read(first, end, heads)}


@dataclass
class QuantisedRows:
    """The first `exact` rows as they come, the others quantised."""

    quantisation: KVQuantisation
    exact: int
    dense: mx.array
    packed: tuple[mx.array, mx.array, mx.array]
    """Weights, scales and biases, each (batch, kv_heads, capacity - exact, ...)."""

    @classmethod
    def like(cls, rows: mx.array, quantisation: KVQuantisation, exact: int) -> "QuantisedRows":
        """An empty buffer for rows of this shape and type."""
        weights, scales, biases = _pack(mx.zeros((*rows.shape[:2], 1, rows.shape[3]), rows.dtype), quantisation)
        return cls(
            quantisation,
            exact,
            rows[..., :0, :],
            (weights[..., :0, :], scales[..., :0, :], biases[..., :0, :]),
        )

    @property
    def capacity(self) -> int:
        quantised = self.packed[0].shape[2]
        return self.exact + quantised if quantised else self.dense.shape[2]

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.state)

    @property
    def state(self) -> list[mx.array]:
        return [self.dense, *self.packed]

    def write(self, start: int, rows: mx.array) -> None:
        exact = min(max(self.exact - start, 0), rows.shape[2])
        if exact:
            self.dense[..., start : start + exact, :] = rows[..., :exact, :]
        if exact < rows.shape[2]:
            first, count = start + exact - self.exact, rows.shape[2] - exact
            for part, new in zip(self.packed, _pack(rows[..., exact:, :], self.quantisation), strict=True):
                part[..., first : first + count, :] = new

    def read(self, start: int, end: int, heads: slice = ALL) -> mx.array:
        parts = []
        if start < self.exact:
            parts.append(self.dense[:, heads, start : min(end, self.exact)])
        if end > self.exact:
            weights, scales, biases = self._packed(start, end, heads)
            parts.append(
                mx.dequantize(
                    weights,
                    scales,
                    biases,
                    group_size=self.quantisation.group_size,
                    bits=self.quantisation.bits,
                )
            )
        return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=2)

    def fetched(self, start: int, end: int, heads: slice, before: mx.array | None) -> "RowsView":
        return RowsView(self, heads, start, end, before)

    def _packed(self, first: int, end: int, heads: slice = ALL) -> list[mx.array]:
        bounds = max(first - self.exact, 0), max(end - self.exact, 0)
        return [part[:, heads, slice(*bounds)] for part in self.packed]

    def moved(self, first: int, end: int, capacity: int) -> "QuantisedRows":
        exact = max(self.exact - first, 0)
        weights, scales, biases = (copied(part, max(capacity - exact, 0)) for part in self._packed(first, end))
        dense = copied(self.dense[..., min(first, self.exact) : min(end, self.exact), :], min(exact, capacity))
        return QuantisedRows(self.quantisation, exact, dense, (weights, scales, biases))

    def dump(self, first: int, end: int, heads: slice = ALL) -> dict[str, mx.array]:
        arrays = {}
        if first < self.exact:
            arrays["rows"] = self.dense[:, heads, first : min(end, self.exact)]
        if end > self.exact:
            arrays |= dict(zip(_PACKED, self._packed(first, end, heads), strict=True))
        return arrays


_PACKED = ("weights", "scales", "biases")


def _pack(rows: mx.array, quantisation: KVQuantisation) -> tuple[mx.array, mx.array, mx.array]:
    weights, scales, biases = mx.quantize(rows, group_size=quantisation.group_size, bits=quantisation.bits)
    return weights, scales, biases


@dataclass(frozen=True)
class RowsView:
    """Rows `start` to `end` of some heads of a buffer, for attention that reads them block by block and never holds all
    unpacked."""

    rows: QuantisedRows
    heads: slice
    start: int
    end: int
    before: mx.array | None = None
    """Rows that come first, from elsewhere."""

    @property
    def shape(self) -> tuple[int, ...]:
        batch, heads, _, dim = self.rows.dense.shape
        return batch, len(range(heads)[self.heads]), self._before + self.end - self.start, dim

    @property
    def _before(self) -> int:
        return 0 if self.before is None else self.before.shape[2]

    def block(self, first: int, last: int) -> mx.array:
        """Those from `first` to `last`."""
        apart = self._before
        parts = []
        if self.before is not None and first < apart:
            parts.append(self.before[..., first : min(last, apart), :])
        if last > apart:
            start = self.start + max(first - apart, 0)
            parts.append(self.rows.read(start, self.start + last - apart, self.heads))
        return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=2)


def rows_like(rows: mx.array, quantisation: KVQuantisation | None, position: int) -> Rows:
    """An empty buffer for rows like these, the first of which will stand for `position`."""
    if quantisation is None:
        return DenseRows.like(rows)
    return QuantisedRows.like(rows, quantisation, max(quantisation.start - position, 0))


def rows_from(arrays: Mapping[str, mx.array], quantisation: KVQuantisation | None, position: int) -> Rows:
    """The buffer that was dumped, the first row of which stands for `position`. KeyError where parts are missing."""
    if quantisation is None:
        return DenseRows(arrays["rows"])
    exact = max(quantisation.start - position, 0)
    if "weights" not in arrays:
        made = QuantisedRows.like(arrays["rows"], quantisation, exact)
        made.dense = arrays["rows"]
        return made
    weights, scales, biases = (arrays[part] for part in _PACKED)
    batch, heads, _, words = weights.shape
    nothing = mx.zeros((batch, heads, 0, words * 32 // quantisation.bits), scales.dtype)
    return QuantisedRows(quantisation, exact, arrays["rows"] if exact else nothing, (weights, scales, biases))
