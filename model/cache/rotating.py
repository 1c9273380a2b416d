"""The cache of a sliding-window layer: its memory stays bounded however long the conversation gets.

Keys stay in temporal order. When the buffer is full, the part that is still in reach moves to its front, once every
`slack` tokens or so; a single-token write is in place, a step of decoding reads one contiguous slice and needs no mask,
and whatever lies in the slack can be taken back exactly. A true ring would overwrite in place but scramble the order,
and then neither trim nor snapshot nor mask is simple.
"""

from collections.abc import Mapping

import mlx.core as mx

from model.allocation import rotated
from model.cache.full import masked
from model.cache.key_values import Fetched, KeyValues
from model.cache.layer import Snapshot
from model.cache.rows import KVQuantisation, copied
from model.layers.attention import Mask, causal_mask


class RotatingCache:
    """The last `window` positions, and the `slack` before them; with `sinks`, the first few of all as well.

    A query at q sees q - window + 1 ... q (see `causal_mask`) and the sinks. Trimming is exact while the window of the
    position that is returned to is still held; beyond that `trim` refuses. Memory is at most sinks + window + 2 slack
    positions, plus the longest run of tokens that was appended at once.
    """

    def __init__(
        self,
        window: int,
        slack: int,
        sinks: int = 0,
        quantisation: KVQuantisation | None = None,
    ) -> None:
        self.offset = 0
        self._window = window
        self._slack = slack
        self._sinks = sinks
        self._quantisation = quantisation
        self._held = 0
        """Recent positions in the buffers: the last `_held` before `offset`, beginning with row 0."""
        self._stored: KeyValues | None = None
        self._dropped_sinks: list[tuple[mx.array, mx.array]] = []
        """Keys and values of the sinks that the buffers have dropped, one pair or none; never written in place."""

    # --- appending ---

    def append(self, *rows: mx.array) -> Fetched:
        stored = self._stored or KeyValues.like(rows, self._quantisation, self.offset - self._held)
        stored, start, first, sinks = self._room(stored, rows[0].shape[2])
        stored.write(start, rows)
        return stored.fetched(first, self._held, sinks)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Fetched:
        return self.append(keys, values)

    def _room(self, stored: KeyValues, length: int) -> tuple[KeyValues, int, int, tuple[mx.array, mx.array] | None]:
        """Buffers with room for `length` more positions, which count from now on, and the row where they begin; the
        first row that these may look at, and the sinks before it."""
        self._stored = stored
        if self._held + length > stored.capacity:
            stored = self._make_room(stored, length)
        first, apart = self._reach()
        sinks = self._sinks_before(apart)
        start, self._held = self._held, self._held + length
        self.offset += length
        return stored, start, first, sinks

    def make_mask(self, length: int, return_array: bool = False, window_size: int | None = None) -> Mask:
        window = min(self._window, window_size or self._window)
        first, apart = self._reach()
        recent = self._held - first + length
        if not self._sinks or (recent <= window and (length == 1 or not apart)):
            return masked(causal_mask(length, recent, window), length, recent, return_array)
        position = self.offset + length - recent  # of the first recent column
        keys = mx.concatenate([mx.arange(apart), mx.arange(position, position + recent)])[None]
        queries = mx.arange(self.offset, self.offset + length)[:, None]
        return (keys <= queries) & ((keys > queries - window) | (keys < self._sinks))

    def _reach(self) -> tuple[int, int]:
        """The first row that the next query can look at, and how many sinks lie before it, to be fetched apart."""
        first = max(0, self._held - (self._window - 1))
        return first, min(self._sinks, self.offset - self._held + first)

    def _sinks_before(self, position: int) -> tuple[mx.array, mx.array] | None:
        """Keys and values of the positions below `position`, each read where it is stored; None for none."""
        if not position:
            return None
        dropped = self.offset - self._held
        parts = [(keys[..., :position, :], values[..., :position, :]) for keys, values in self._dropped_sinks]
        if position > dropped and self._stored:
            parts.append(self._stored.read(0, position - dropped))
        if len(parts) == 1:
            return parts[0]
        keys, values = (mx.concatenate(list(side), axis=2) for side in zip(*parts, strict=True))
        return keys, values

    def _make_room(self, stored: KeyValues, length: int) -> KeyValues:
        """Bring what later queries or a trim can still reach to the front of buffers that hold `length` more."""
        kept, capacity = rotated(self._held, self._window, self._slack, length)
        self._dropped_sinks = self._sink_copies(kept)
        self._stored = stored.moved(self._held - kept, self._held, capacity)
        if kept:
            self._stored.settle()
        self._held = kept
        return self._stored

    def _sink_copies(self, kept: int) -> list[tuple[mx.array, mx.array]]:
        """Keys and values of the sinks that lie before the last `kept` positions."""
        sinks = self._sinks_before(min(self._sinks, self.offset - kept))
        # Copies: a slice would keep the whole buffer that it was cut from.
        return [(copied(sinks[0], sinks[0].shape[2]), copied(sinks[1], sinks[1].shape[2]))] if sinks else []

    # --- taking back ---

    @property
    def state(self) -> list[mx.array]:
        stored = self._stored.state if self._stored else []
        return stored + [array for sinks in self._dropped_sinks for array in sinks]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.state)

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

    def snapshot(self) -> Snapshot:
        kept = min(self._held, self._window - 1)
        stored = self._stored.moved(self._held - kept, self._held, kept) if self._stored else None
        sinks = self._sink_copies(kept)
        arrays = [*(stored.state if stored else ()), *(array for pair in sinks for array in pair)]
        mx.eval(arrays)  # now: an unevaluated copy would keep all of the original alive
        return Snapshot(self.offset, (stored, kept, sinks), sum(array.nbytes for array in arrays))

    def restore(self, snapshot: Snapshot) -> bool:
        stored, self._held, self._dropped_sinks = snapshot.content
        self.offset = snapshot.offset
        # A copy again: a trim and what follows it would be written into the snapshot.
        self._stored = stored.moved(0, self._held, self._held) if stored else None
        return True

    # --- saving ---

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        arrays = self._stored.dump(0, self._held) if self._stored else {}
        for sinks in self._dropped_sinks:
            arrays |= dict(zip(("sink keys", "sink values"), sinks, strict=True))
        return {"offset": self.offset, "held": self._held}, arrays

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        offset, held = numbers["offset"], numbers["held"]
        if held > offset or (held < offset and held < self._window - 1):
            raise ValueError(f"{held} rows cannot stand for a window of {self._window} at {offset}")
        self._stored = KeyValues.loaded(arrays, self._quantisation, offset - held, held)
        if self._sinks and offset > held:
            self._dropped_sinks = [(arrays["sink keys"], arrays["sink values"])]
        self.offset, self._held = offset, held
