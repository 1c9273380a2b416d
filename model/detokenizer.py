"""Ids to text as they arrive: what is complete is told, never half a character.

It knows the decoders that tokenizer.json files have, and nothing of prompts.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal, Protocol

import tokenizers

from model.errors import ModelError

Errors = Literal["replace", "strict", "ignore"]

Decoding = Literal["bytes", "pieces and bytes", "pieces"]
"""Pieces are bytes (byte-level BPE); text, and tokens <0xNN> beside it; text alone."""

_BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")
_CONTEXT = 8
"""Tokens before a new one that a decoder may look at to place its spaces."""


class Detokenizer(Protocol):
    """Ids to text, one at a time. Special tokens have no text."""

    def add(self, id: int) -> str:
        """The text that is complete now: never half a character, perhaps nothing."""

    def flush(self) -> str:
        """What was held back, as U+FFFD where it never became a character."""


def detokenizer(backend: tokenizers.Tokenizer, skipped: frozenset[int], errors: Errors, name: str) -> Detokenizer:
    """The one that fits the tokenizer's decoder. `skipped` ids have no text; `name` is what ModelErrors call it."""
    text, kind = Utf8(errors, name), decoding(backend)
    if kind == "bytes":
        return ByteDetokenizer(lambda id: _spelled(backend.id_to_token(id) or ""), skipped, text)
    return _PieceDetokenizer(backend, skipped, text, kind == "pieces and bytes")


def bytes_of(backend: tokenizers.Tokenizer, id: int) -> bytes:
    """The bytes that an ordinary token stands for; none for an id that is no token."""
    piece, kind = backend.id_to_token(id), decoding(backend)
    if piece is None:
        return b""
    if kind == "bytes":
        return _spelled(piece)
    if kind == "pieces and bytes" and (byte := _BYTE_PIECE.fullmatch(piece)):
        return bytes.fromhex(byte[1])
    return piece.replace("▁", " ").encode()


def _byte_characters() -> list[str]:
    """The character that byte-level BPE writes for each byte (GPT-2's `bytes_to_unicode`)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(spare)) for byte in range(256)]


BYTE_CHARACTERS = _byte_characters()
"""By byte."""
_BYTES = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


class Utf8:
    """Bytes to text as they arrive, with one of Python's ways to treat what is no UTF-8."""

    def __init__(self, errors: Errors, name: str) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors=errors)
        self._name = name

    def decode(self, data: bytes, final: bool = False) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            found = error.object[error.start : error.end].hex(" ").upper()
            raise ModelError(
                f'{self._name}: these ids spell the bytes {found}, which are no text; decode with errors="replace"',
                "request",
            ) from None

    def reset(self) -> None:
        self._decoder.reset()


class ByteDetokenizer:
    """Where a token is a few bytes of UTF-8."""

    def __init__(self, spell: Callable[[int], bytes], skipped: frozenset[int], text: Utf8) -> None:
        """`spell`: the bytes of an id, none for one that is no token."""
        self._spell = spell
        self._special = skipped
        self._text = text

    def add(self, id: int) -> str:
        if id in self._special or id < 0:
            return ""
        return self._text.decode(self._spell(id))

    def flush(self) -> str:
        return self._text.decode(b"", final=True)


@lru_cache(maxsize=4096)
def _spelled(piece: str) -> bytes:
    """The bytes that the characters of a piece of byte-level BPE stand for."""
    try:
        return bytes(_BYTES[character] for character in piece)
    except KeyError:  # an added token, which is text as it stands
        return piece.encode()


class _PieceDetokenizer:
    """For every other decoder: what one more token adds to the text of the few before it."""

    def __init__(self, backend: tokenizers.Tokenizer, skipped: frozenset[int], text: Utf8, byte_pieces: bool) -> None:
        self._backend = backend
        self._special = skipped
        self._byte_pieces = byte_pieces
        self._recent: list[int] = []
        self._bytes = text

    def add(self, id: int) -> str:
        if id in self._special or id < 0:
            return ""
        piece = self._backend.id_to_token(id)
        if piece is None:
            return ""
        if self._byte_pieces and (byte := _BYTE_PIECE.fullmatch(piece)):
            self._remember(id)
            return self._bytes.decode(bytes.fromhex(byte[1]))
        return self.flush() + self._difference(id)

    def flush(self) -> str:
        rest = self._bytes.decode(b"", final=True)
        self._bytes.reset()
        return rest

    def _difference(self, id: int) -> str:
        before = self._backend.decode(self._recent, skip_special_tokens=False)
        after = self._backend.decode([*self._recent, id], skip_special_tokens=False)
        self._remember(id)
        if after.startswith(before):
            return after[len(before) :]
        # The decoder changed what has been shown already. Show what is new behind the part that stands.
        same = next((n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
        return after[max(same, len(before)) :]

    def _remember(self, id: int) -> None:
        self._recent = [*self._recent[1 - _CONTEXT :], id]


def decoding(backend: tokenizers.Tokenizer) -> Decoding:
    """What the vocabulary's pieces are made of, and so which detokeniser fits."""
    decoder = backend.decoder
    kinds = set(_kinds(json.loads(decoder.__getstate__()))) if decoder is not None else set()
    if "ByteLevel" in kinds and kinds <= {"ByteLevel", "Fuse"}:
        return "bytes"
    return "pieces and bytes" if "ByteFallback" in kinds else "pieces"


def _kinds(decoder: dict[str, Any]) -> Iterator[str]:
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _kinds(part)
    else:
        yield decoder["type"]
