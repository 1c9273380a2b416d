"""Text to ids, remembered: a conversation is made into tokens again and again, and little of it is new each time.

A prompt is encoded in the units that its vocabulary knows, from one control token to the next. Knows no template.
"""

import threading
from array import array
from collections import OrderedDict

from model.backends import Backend

_CHARACTERS = 4_000_000
"""Of the texts that are remembered, together; their ids take about as many bytes again."""


class Encoder:
    """One vocabulary's `encode`, added tokens among the ids. Any thread may use it."""

    def __init__(self, backend: Backend, characters: int = _CHARACTERS) -> None:
        """`characters`: of text that may be remembered."""
        self._backend = backend
        self._most = characters
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def __call__(self, text: str) -> list[int]:
        """The ids of `text`."""
        ids: list[int] = []
        for unit in self._backend.units(text):
            ids += self._unit(unit)
        return ids

    def _unit(self, text: str) -> "array[int]":
        with self._lock:
            if (known := self._known.get(text)) is not None:
                self._known.move_to_end(text)
                return known
        ids = array("I", self._backend.encode(text))
        with self._lock:
            if text not in self._known and len(text) <= self._most:
                self._known[text] = ids
                self._held += len(text)
                while self._held > self._most:
                    oldest, _ = self._known.popitem(last=False)
                    self._held -= len(oldest)
        return ids
