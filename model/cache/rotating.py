"""The cache of a sliding-window layer: its memory stays bounded however long the conversation gets.

Keys stay in temporal order. When the buffer is full, the part that is still in reach moves to its front, once every
`slack` tokens or so; a single-token write is in place, a step of decoding reads one contiguous slice and needs no mask,
and whatever lies in the slack can be taken back exactly. A true ring would overwrite in place but scramble the order,
and then neither trim nor snapshot nor mask is simple.
"""

import mlx.core as mx

from model.cache.full import grown
from model.layers.attention import Mask, causal_mask

DEFAULT_SLACK = 256


class RotatingCache:
    """The last `window` positions, and at least the `slack` before them once that many were seen.

    A query at q sees q - window + 1 ... q (see `causal_mask`). Trimming is exact while the window of the position that
    is returned to is still held; beyond that `trim` refuses. Memory is at most window + 2 slack positions, plus the
    longest run of tokens that was appended at once.
    """

    def __init__(self, window: int, slack: int = DEFAULT_SLACK) -> None:
        self.offset = 0
        self._window = window
        self._slack = slack
        self._held = 0
        """Positions in the buffers: the last `_held` before `offset`."""
        self._keys: mx.array | None = None
        self._values: mx.array | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        length = keys.shape[2]
        if self._keys is None or self._values is None:
            self._keys, self._values = keys[..., :0, :], values[..., :0, :]
        if self._held + length > self._keys.shape[2]:
            self._make_room(length)
        start, self._held = self._held, self._held + length
        self.offset += length
        self._keys[..., start : self._held, :] = keys
        self._values[..., start : self._held, :] = values
        first = max(0, start - (self._window - 1))
        return self._keys[..., first : self._held, :], self._values[..., first : self._held, :]

    def make_mask(self, length: int) -> Mask:
        reach = min(self._held, self._window - 1)
        return causal_mask(length, reach + length, self._window)

    def _make_room(self, length: int) -> None:
        """Bring what later queries or a trim can still reach to the front of buffers that hold `length` more."""
        assert self._keys is not None and self._values is not None
        kept = min(self._held, self._window - 1 + self._slack)
        capacity = kept + max(length, self._slack)
        first = self._held - kept
        self._keys = grown(self._keys[..., first : self._held, :], capacity, kept)
        self._values = grown(self._values[..., first : self._held, :], capacity, kept)
        self._held = kept

    @property
    def state(self) -> tuple[mx.array | None, mx.array | None]:
        return self._keys, self._values

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.state if buffer is not None)

    @property
    def rewindable(self) -> int:
        if self._held == self.offset:
            return self.offset
        return max(0, self._held - (self._window - 1))

    def is_trimmable(self) -> bool:
        return self.rewindable > 0

    def trim(self, count: int) -> int:
        if count > self.rewindable:
            return 0
        self.offset -= count
        self._held -= count
        return count
