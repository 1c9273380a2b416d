"""What is beneath `model.tokenizer.Tokenizer`: text to ids and back, by one kind of vocabulary.

`Library` is whatever a tokenizer.json describes; model/world.py has the other. It knows no prompts and no options.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import tokenizers
from tokenizers import AddedToken

from model.detokenizer import BYTE_CHARACTERS, Detokenizer, Errors, bytes_of, decoding, detokenizer
from model.errors import one_line

Added = Literal["all", "ordinary", "none"]
"""Which added tokens are found in a text: all of them, those that are not special, or none: then it is all text."""


class Backend(Protocol):
    """One vocabulary. Any thread may use it."""

    @property
    def added(self) -> Mapping[int, AddedToken]:
        """The tokens that are looked for before all others, by id."""

    @property
    def normalises(self) -> bool:
        """Whether text is changed before it is looked at."""

    @property
    def size(self) -> int:
        """One more than the largest id."""

    @property
    def kind(self) -> str:
        """How it makes tokens of text, in the field's words."""

    def vocabulary(self) -> Mapping[Any, int]:
        """Every token's id."""

    def token_to_id(self, token: str, added: bool = True) -> int | None:
        """`added`: whether one of the added tokens will do."""

    def id_to_token(self, id: int) -> str | None: ...

    def encode(self, text: str, added: Added = "all") -> list[int]: ...

    def encode_bytes(self, text: str) -> list[int]:
        """Text by the tokens of its single bytes, as far as there are such."""

    def units(self, text: str) -> Iterator[str]:
        """The stretches of a text that come to the same tokens each by itself."""

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """Bytes that are no text as U+FFFD."""

    def bytes_of(self, id: int) -> bytes:
        """The bytes that an ordinary token stands for; none for an id that is no token."""

    def detokenizer(self, skipped: frozenset[int], errors: Errors, name: str) -> Detokenizer:
        """A fresh one. `skipped` ids have no text; `name` is what ModelErrors call the checkpoint."""


class Library:
    """A tokenizer of the `tokenizers` library."""

    def __init__(self, whole: tokenizers.Tokenizer, unknown: str | None = None) -> None:
        """Takes `whole` over. `unknown` is written for what the model cannot spell, if it is one of its own tokens."""
        whole.no_truncation()
        whole.no_padding()
        model = whole.model
        if unknown is not None and hasattr(model, "unk_token") and model.token_to_id(unknown) is not None:
            model.unk_token = unknown
        self._whole = whole
        self._ordinary: tokenizers.Tokenizer | None = None
        # The same model without its added tokens. It shares the vocabulary, so a second one costs nothing.
        self._plain = tokenizers.Tokenizer(model)
        if whole.normalizer is not None:
            self._plain.normalizer = whole.normalizer
        if whole.pre_tokenizer is not None:
            self._plain.pre_tokenizer = whole.pre_tokenizer
        self.added: Mapping[int, AddedToken] = whole.get_added_tokens_decoder()
        self.normalises = whole.normalizer is not None
        self.size: int = max(whole.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        added = self.added.values()
        # A token that looks at what stands before it, or is looked for in normalised text, is no place to cut; and
        # what is part of a longer token is none either, so that all of them are looked for, the longest first.
        self._places = {token.content for token in added if not (token.lstrip or token.single_word or token.normalized)}
        contents = sorted({token.content for token in added if token.content}, key=len, reverse=True)
        self._contents = re.compile("|".join(map(re.escape, contents)) or r"(?!)")

    @property
    def kind(self) -> str:
        """Byte-level BPE, Unigram and so on."""
        model = type(self._whole.model).__name__
        return f"byte-level {model}" if decoding(self._whole) == "bytes" else model

    def vocabulary(self) -> Mapping[Any, int]:
        return self._whole.get_vocab()

    def token_to_id(self, token: str, added: bool = True) -> int | None:
        id: int | None = self._whole.token_to_id(token) if added else self._whole.model.token_to_id(token)
        return id

    def id_to_token(self, id: int) -> str | None:
        return self._whole.id_to_token(id)

    def encode(self, text: str, added: Added = "all") -> list[int]:
        return self._reader(added).encode(text, add_special_tokens=False).ids

    def _reader(self, added: Added) -> tokenizers.Tokenizer:
        if added == "all":
            return self._whole
        if added == "none":
            return self._plain
        if self._ordinary is None:
            self._ordinary = tokenizers.Tokenizer.from_str(self._whole.to_str())
            self._ordinary.encode_special_tokens = True
        return self._ordinary

    def encode_bytes(self, text: str) -> list[int]:
        ids = []
        for byte in text.encode():
            for piece in (BYTE_CHARACTERS[byte], f"<0x{byte:02X}>"):
                id = self._plain.token_to_id(piece)
                if id is not None:
                    ids.append(id)
                    break
        return ids

    def units(self, text: str) -> Iterator[str]:
        """From one added token to the next, which is where the library cuts too."""
        start = 0
        for found in self._contents.finditer(text):
            if found.start() > start and found[0] in self._places:
                yield text[start : found.start()]
                start = found.start()
        if start < len(text):
            yield text[start:]

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        return self._whole.decode(ids, skip_special_tokens=skip_special)

    def bytes_of(self, id: int) -> bytes:
        return bytes_of(self._whole, id)

    def detokenizer(self, skipped: frozenset[int], errors: Errors, name: str) -> Detokenizer:
        return detokenizer(self._whole, skipped, errors, name)


def read_library(text: str) -> tokenizers.Tokenizer:
    """The library's own tokenizer from the text of tokenizer.json. ValueError, in one line, where it is damaged."""
    try:
        return tokenizers.Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # plain Exception, and for a panic of the library's not even that
        raise ValueError(one_line(str(error))) from None
