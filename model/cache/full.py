"""The cache of a layer with full attention: it keeps everything and forgets from the end."""

import mlx.core as mx

from model.layers.attention import Mask, causal_mask

_FIRST_CAPACITY = 256


def grown(buffer: mx.array, capacity: int, kept: int) -> mx.array:
    """A buffer of `capacity` positions with the first `kept` of `buffer` at its start."""
    batch, heads, _, dim = buffer.shape
    larger = mx.zeros((batch, heads, capacity, dim), buffer.dtype)
    if kept:
        larger[..., :kept, :] = buffer[..., :kept, :]
    return larger


class FullCache:
    """Keys and values of every position, in buffers that grow by half, so that appending costs O(1) amortised."""

    def __init__(self) -> None:
        self.offset = 0
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        start, self.offset = self.offset, self.offset + keys.shape[2]
        if self._keys is None or self._values is None:
            self._keys, self._values = keys[..., :0, :], values[..., :0, :]
        capacity = self._keys.shape[2]
        if self.offset > capacity:
            capacity = max(self.offset, capacity + capacity // 2, _FIRST_CAPACITY)
            self._keys = grown(self._keys, capacity, start)
            self._values = grown(self._values, capacity, start)
        self._keys[..., start : self.offset, :] = keys
        self._values[..., start : self.offset, :] = values
        return self._keys[..., : self.offset, :], self._values[..., : self.offset, :]

    def make_mask(self, length: int) -> Mask:
        return causal_mask(length, self.offset + length)

    @property
    def state(self) -> tuple[mx.array | None, mx.array | None]:
        return self._keys, self._values

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.state if buffer is not None)

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
