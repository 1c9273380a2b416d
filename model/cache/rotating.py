"""The cache of a sliding-window layer: its memory stays bounded however long the conversation gets.

Keys stay in temporal order. When the buffer is full, the part that is still in reach moves to its front, once every
`slack` tokens or so; a single-token write is in place, a step of decoding reads one contiguous slice and needs no mask,
and whatever lies in the slack can be taken back exactly. A true ring would overwrite in place but scramble the order,
and then neither trim nor snapshot nor mask is simple.
"""

from collections.abc import Mapping

import mlx.core as mx

from model.allocation import rotated
from model.cache.full import dumped, loaded, masked
from model.cache.layer import Snapshot
from model.cache.rows import KVQuantisation, Rows, RowsView, copied, fetched, rows_like, settle
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
        self._rows: tuple[Rows, Rows] | None = None
        self._sink_rows: tuple[mx.array, mx.array] | None = None
        """Keys and values of the sinks that the buffers have dropped; never written in place."""

    # --- appending ---

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array | RowsView, mx.array | RowsView]:
        length = keys.shape[2]
        if self._rows is None:
            first = self.offset - self._held
            self._rows = rows_like(keys, self._quantisation, first), rows_like(values, self._quantisation, first)
        if self._held + length > self._rows[0].capacity:
            self._make_room(length)
        first, apart = self._reach()
        start, self._held = self._held, self._held + length
        self.offset += length
        for rows, new in zip(self._rows, (keys, values), strict=True):
            rows.write(start, new)
        sinks = self._sinks_before(apart)
        return (
            fetched(self._rows[0], first, self._held, sinks and sinks[0]),
            fetched(self._rows[1], first, self._held, sinks and sinks[1]),
        )

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
        assert self._rows is not None
        dropped = self.offset - self._held
        sides = []
        for side, rows in enumerate(self._rows):
            parts = [self._sink_rows[side][..., :position, :]] if self._sink_rows else []
            if position > dropped:
                parts.append(rows.read(0, position - dropped))
            sides.append(mx.concatenate(parts, axis=2) if len(parts) > 1 else parts[0])
        return sides[0], sides[1]

    def _make_room(self, length: int) -> None:
        """Bring what later queries or a trim can still reach to the front of buffers that hold `length` more."""
        assert self._rows is not None
        kept, capacity = rotated(self._held, self._window, self._slack, length)
        self._sink_rows = self._sink_copies(kept)
        self._rows = self._moved(kept, capacity)
        if kept:
            settle(self._rows)
        self._held = kept

    def _sink_copies(self, kept: int) -> tuple[mx.array, mx.array] | None:
        """Keys and values of the sinks that lie before the last `kept` positions, None for none."""
        sinks = self._sinks_before(min(self._sinks, self.offset - kept))
        # Copies: a slice would keep the whole buffer that it was cut from.
        return sinks and (copied(sinks[0], sinks[0].shape[2]), copied(sinks[1], sinks[1].shape[2]))

    def _moved(self, kept: int, capacity: int) -> tuple[Rows, Rows]:
        """Copies of the buffers that begin with the last `kept` rows."""
        assert self._rows is not None
        keys, values = (rows.moved(self._held - kept, self._held, capacity) for rows in self._rows)
        return keys, values

    # --- taking back ---

    @property
    def state(self) -> list[mx.array]:
        return [array for rows in self._rows or () for array in rows.state] + list(self._sink_rows or ())

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
        rows = self._moved(kept, kept) if self._rows else None
        sinks = self._sink_copies(kept)
        # Now: an unevaluated copy would keep all of the original alive.
        mx.eval([buffer.state for buffer in rows or ()], sinks or ())
        size = sum(buffer.nbytes for buffer in (*(rows or ()), *(sinks or ())))
        return Snapshot(self.offset, (rows, kept, sinks), size)

    def restore(self, snapshot: Snapshot) -> bool:
        rows, self._held, self._sink_rows = snapshot.content
        self.offset = snapshot.offset
        # A copy again: a trim and what follows it would be written into the snapshot.
        self._rows = None
        if rows:
            self._rows = rows[0].moved(0, self._held, self._held), rows[1].moved(0, self._held, self._held)
        return True

    # --- saving ---

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        arrays = dumped(self._rows, 0, self._held)
        if self._sink_rows:
            arrays |= dict(zip(("sink keys", "sink values"), self._sink_rows, strict=True))
        return {"offset": self.offset, "held": self._held}, arrays

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        offset, held = numbers["offset"], numbers["held"]
        if held > offset or (held < offset and held < self._window - 1):
            raise ValueError(f"{held} rows cannot stand for a window of {self._window} at {offset}")
        self._rows = loaded(arrays, self._quantisation, offset - held, held)
        if self._sinks and offset > held:
            self._sink_rows = arrays["sink keys"], arrays["sink values"]
        self.offset, self._held = offset, held
