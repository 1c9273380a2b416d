"""The vocabulary of RWKV's World models: byte strings, of which a text is given the longest that fits, and so on.

No merges, no normaliser, nothing that depends on what comes later; token 0, which no text becomes, ends a document.
Knows what the vocabulary's file looks like, which is read as data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from model.backends import Added
from model.detokenizer import ByteDetokenizer, Detokenizer, Errors, Utf8
from model.errors import ModelError
from model.tokenizer_files import WORLD, read_file

END = "<|rwkv_tokenizer_end_of_text|>"
"""What token 0 is called where nobody says otherwise."""

_MOST = 4_000_000
"""Bytes of a vocabulary's file; the published one has 1.2 million."""
_SPELLED = 1_000_000
"""Bytes of all its tokens, each a node of the trie at worst; those of the published one have 0.4 million."""
_LONGEST = 1_000
"""Bytes of one token, which may have to be looked at for each byte of a text; the published ones have up to 128."""
_ROWS = 1 << 20

_LINE = re.compile(r"([0-9]{1,7}) (b?)(['\"])(.*)\3 ([0-9]{1,7})")
_ESCAPE = re.compile(r"\\(?:([\\'\"nrt])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}

_Node = dict[int, Any]
"""The nodes behind each byte, and at `_ENDS` the token that ends here, if one does."""
_ENDS = -1


class World:
    """A byte trie, beneath `model.tokenizer.Tokenizer` (see `model.backends.Backend`)."""

    kind = "byte trie"
    normalises = False

    def __init__(self, tokens: Mapping[bytes, int], added: Mapping[int, str] | None = None) -> None:
        """`added`: control tokens that stand beside the vocabulary, by id. ValueError where a byte has no token."""
        missing = next((byte for byte in range(256) if bytes([byte]) not in tokens), None)
        if missing is not None:
            raise ValueError(f"it has no token for the byte {missing:02X}")
        self._tokens = tokens
        self._bytes = {id: token for token, id in tokens.items()}
        names = {0: END} if added is None else added
        self.added: Mapping[int, AddedToken] = {
            id: AddedToken(name, special=True, normalized=False) for id, name in names.items()
        }
        self._ids = {name: id for id, name in names.items()}
        literals = "|".join(map(re.escape, sorted(self._ids, key=len, reverse=True))) or r"(?!)"
        self._names = re.compile(literals)
        self._places = re.compile(rf"{literals}|(?<=\n\n)(?=[^\n])")
        self.size = max(*self._bytes, *names) + 1
        self._root = _trie(tokens)
        # Where no token goes on from a line break to this byte, one ends before it, whatever stands around.
        self._behind_break = {
            token[at + 1] for token in tokens for at, byte in enumerate(token[:-1]) if byte == ord("\n")
        }

    def vocabulary(self) -> Mapping[Any, int]:
        return self._tokens

    def token_to_id(self, token: str, added: bool = True) -> int | None:
        if added and (id := self._ids.get(token)) is not None:
            return id
        return self._tokens.get(token.encode(errors="surrogatepass"))

    def id_to_token(self, id: int) -> str | None:
        if id in self.added:
            return self.added[id].content
        token = self._bytes.get(id)
        return None if token is None else token.decode(errors="replace")

    def encode(self, text: str, added: Added = "all") -> list[int]:
        if added != "all":
            return self.longest(text.encode())
        ids: list[int] = []
        start = 0
        for found in self._names.finditer(text):
            ids += self.longest(text[start : found.start()].encode())
            ids.append(self._ids[found[0]])
            start = found.end()
        return ids + self.longest(text[start:].encode())

    def longest(self, data: bytes) -> list[int]:
        """The ids of any bytes: the longest token that fits, and again behind it."""
        ids = []
        start, length = 0, len(data)
        while start < length:
            node, at = self._root, start
            while at < length and (deeper := node.get(data[at])) is not None:
                node = deeper
                at += 1
                if _ENDS in node:
                    best, end = node[_ENDS], at
            ids.append(best)  # every byte is a token, so that one was found
            start = end
        return ids

    def encode_bytes(self, text: str) -> list[int]:
        return [self._tokens[bytes([byte])] for byte in text.encode()]

    def units(self, text: str) -> Iterator[str]:
        """From one empty line, or control token, to the next, where no token can reach across."""
        start = 0
        for found in self._places.finditer(text):
            at = found.start()
            if at > start and (found[0] or text[at].encode()[0] not in self._behind_break):
                yield text[start:at]
                start = at
        if start < len(text):
            yield text[start:]

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        spelled = (b"" if skip_special and id in self.added else self._spelled(id) for id in ids)
        return b"".join(spelled).decode(errors="replace")

    def bytes_of(self, id: int) -> bytes:
        return self._bytes.get(id, b"")

    def _spelled(self, id: int) -> bytes:
        return self.added[id].content.encode() if id in self.added else self.bytes_of(id)

    def detokenizer(self, skipped: frozenset[int], errors: Errors, name: str) -> Detokenizer:
        return ByteDetokenizer(self._spelled, skipped, Utf8(errors, name))


def _trie(tokens: Mapping[bytes, int]) -> _Node:
    root: _Node = {}
    for token, id in tokens.items():
        node = root
        for byte in token:
            node = node.setdefault(byte, {})
        node[_ENDS] = id
    return root


def read_world(folder: Path, config: Mapping[str, Any]) -> World:
    """The vocabulary in a checkpoint's folder; `config` is what tokenizer_config.json holds.

    ModelError, naming the file, where it is damaged.
    """
    path = folder / WORLD
    if path.is_file() and path.stat().st_size > _MOST:
        raise ModelError(f"{folder.name}: {WORLD} is {path.stat().st_size:,} bytes long; put the published one there")
    try:
        tokens = parse(read_file(path))
        return World(tokens, _added(config, {*tokens.values()}, {*tokens}))
    except ValueError as error:
        raise ModelError(f"{folder.name}: {WORLD} is damaged ({error}); put the published one there") from None


def parse(text: str) -> dict[bytes, int]:
    """The tokens of a vocabulary's file: `<id> <Python literal> <bytes>` a line. ValueError for any other line."""
    tokens: dict[bytes, int] = {}
    ids: set[int] = set()
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would break inside of tokens
        if not line:
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number} is no token")
        id, token = int(found[1]), _token(found[4], found[3], found[2] == "b", number)
        if len(token) != int(found[5]) or not 0 < len(token) <= _LONGEST:
            raise ValueError(f"line {number} has {len(token)} bytes, at most {_LONGEST:,}, and says {found[5]}")
        if not 0 < id < _ROWS or id in ids or token in tokens:
            raise ValueError(f"line {number} is there twice or has an id that cannot be")
        tokens[token] = id
        ids.add(id)
    if sum(map(len, tokens)) > _SPELLED:
        raise ValueError(f"its tokens have more than {_SPELLED:,} bytes")
    return tokens


def _token(body: str, quote: str, raw: bool, line: int) -> bytes:
    """The bytes of a Python literal without its quotes, by the few escapes that these files have."""
    if "\\" in body or quote in body:
        bare = _ESCAPE.sub("", body)
        if "\\" in bare or quote in bare:
            raise ValueError(f"line {line} is no string")
        try:
            body = _ESCAPE.sub(_unescaped, body)
        except (OverflowError, ValueError):
            raise ValueError(f"line {line} names no character") from None
    try:
        return body.encode("latin-1" if raw else "utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"line {line} has a character that is none") from None


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return _NAMED.get(found[1], found[1])
    return chr(int(found[2] or found[3] or found[4], 16))


def _added(config: Mapping[str, Any], ids: set[int], tokens: set[bytes]) -> dict[int, str]:
    """Token 0, and what tokenizer_config.json puts where the vocabulary has nothing. Some call a token of the
    vocabulary a special one there (the empty line), which it is not for who was trained on plain text."""
    added = {0: END}
    table = config.get("added_tokens_decoder")
    for key, value in table.items() if isinstance(table, dict) else ():
        name = value.get("content") if isinstance(value, dict) else None
        if not (isinstance(name, str) and name.strip() and name.isprintable() and re.fullmatch("[0-9]{1,7}", key)):
            continue
        if int(key) not in ids and int(key) < _ROWS and name.encode() not in tokens:
            added[int(key)] = name
    return added
