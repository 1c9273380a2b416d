"""The cache of a layer without attention: a state of fixed size, whatever it has seen."""

from collections.abc import Mapping, Sequence

import mlx.core as mx

from model.cache.layer import Snapshot


class RecurrentCache:
    """A few arrays that stand for all tokens so far.

    They are replaced and never written into, so that a snapshot is the arrays themselves and costs nothing until the
    state moves on. One token can be taken back, if it came alone: that which ended an answer, or was under way when it
    was stopped. What else no snapshot covers has to be read again.
    """

    def __init__(self, empty: Sequence[mx.array]) -> None:
        """`empty`: what the state of a single conversation is before the first token. It is never evaluated here."""
        self._empty = empty
        self.offset = 0
        self.arrays: tuple[mx.array, ...] = ()
        """The state; empty before the first token."""
        self._before: tuple[mx.array, ...] | None = None
        """The one before the last token, if that came alone."""

    def advance(self, arrays: tuple[mx.array, ...], length: int) -> None:
        """Hold `arrays`, the state after `length` more tokens."""
        self._before = self.arrays if length == 1 else None
        self.arrays = arrays
        self.offset += length

    @property
    def state(self) -> list[mx.array]:
        return list(self.arrays)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.arrays, *(self._before or ())))

    @property
    def rewindable(self) -> int:
        return 0 if self._before is None else 1

    def is_trimmable(self) -> bool:
        return self._before is not None

    def trim(self, count: int) -> int:
        if count != 1 or self._before is None:
            return 0
        self.arrays, self._before = self._before, None
        self.offset -= 1
        return 1

    def snapshot(self) -> Snapshot:
        return Snapshot(self.offset, self.arrays, sum(array.nbytes for array in self.arrays))

    def restore(self, snapshot: Snapshot) -> bool:
        self.offset, self.arrays, self._before = snapshot.offset, snapshot.content, None
        return True

    def dump(self) -> tuple[dict[str, int], dict[str, mx.array]]:
        return {"offset": self.offset}, {f"state{index}": array for index, array in enumerate(self.arrays)}

    def load(self, numbers: Mapping[str, int], arrays: Mapping[str, mx.array]) -> None:
        wanted = {f"state{index}": empty for index, empty in enumerate(self._empty)} if numbers["offset"] else {}
        # MLX would spread a smaller state over this one and say nothing.
        if {name: array.shape for name, array in arrays.items()} != {name: like.shape for name, like in wanted.items()}:
            raise ValueError("the state of another network, or none where tokens are, or one where none are")
        self.offset = numbers["offset"]
        self.arrays = tuple(arrays[name].astype(like.dtype) for name, like in wanted.items())
