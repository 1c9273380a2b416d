"""Text to ids, remembered: a conversation is made into tokens again and again, and little of it is new each time.

A prompt is encoded in units that begin with a control token, which is where tokenizers cut it too. Knows no template.
"""

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator

import tokenizers

_CHARACTERS = 4_000_000
"""Of the texts that are remembered, together; their ids take about as many bytes again."""


class Encoder:
    """One tokenizer's `encode`, without special tokens of its own. Any thread may use it."""

    def __init__(self, backend: tokenizers.Tokenizer, characters: int = _CHARACTERS) -> None:
        """`characters`: of text that may be remembered. The backend's added tokens must not change any more."""
        self._backend = backend
        self._most = characters
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        added = backend.get_added_tokens_decoder().values()
        # A token that looks at what stands before it, or is looked for in normalised text, is no place to cut; and
        # what is part of a longer token is none either, so that all of them are looked for, the longest first.
        self._places = {token.content for token in added if not (token.lstrip or token.single_word or token.normalized)}
        contents = sorted({token.content for token in added if token.content}, key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, contents)) or r"(?!)")

    def __call__(self, text: str) -> list[int]:
        """The ids of `text`, added tokens among them."""
        ids: list[int] = []
        for unit in self.units(text):
            ids += self._unit(unit)
        return ids

    def units(self, text: str) -> Iterator[str]:
        """The stretches that are encoded each by itself."""
        start = 0
        for found in self._added.finditer(text):
            if found.start() > start and found[0] in self._places:
                yield text[start : found.start()]
                start = found.start()
        if start < len(text):
            yield text[start:]

    def _unit(self, text: str) -> "array[int]":
        with self._lock:
            if (known := self._known.get(text)) is not None:
                self._known.move_to_end(text)
                return known
        ids = array("I", self._backend.encode(text, add_special_tokens=False).ids)
        with self._lock:
            if text not in self._known and len(text) <= self._most:
                self._known[text] = ids
                self._held += len(text)
                while self._held > self._most:
                    oldest, _ = self._known.popitem(last=False)
                    self._held -= len(oldest)
        return ids
