"""A checkpoint's tokenizer: text to ids, ids to text as they arrive, a conversation to a prompt.

Two rules hold here. What a person types never becomes a control token, whatever they type. And nobody is
ever shown half a character. This file knows no MLX and no weights.
"""

import codecs
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from model.errors import ModelError
from model.template import ChatTemplate

_CONTEXT = 8
"""Tokens before a new one that a decoder may look at to place its spaces."""


@dataclass(frozen=True)
class Turn:
    """One message. `token_ids`: the ids an answer was generated with, for where its text stands unchanged."""

    role: str
    content: str
    token_ids: tuple[int, ...] | None = None


class Detokenizer(Protocol):
    """Ids to text, one at a time. Special tokens have no text."""

    def add(self, id: int) -> str:
        """The text that is complete now: never half a character, perhaps nothing."""

    def flush(self) -> str:
        """What was held back, as U+FFFD where it never became a character."""


class Tokenizer:
    """The tokenizer of one checkpoint folder."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        name: str = "tokenizer",
        eos_ids: Iterable[int] = (),
        bos_token: str | None = None,
        eos_token: str | None = None,
        template: ChatTemplate | None = None,
    ) -> None:
        """`name` is what errors call the checkpoint; `eos_ids` end an answer, as the eos token does."""
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._name = name
        added = backend.get_added_tokens_decoder()
        # The same model without its added tokens. It shares the vocabulary, so a second one costs nothing.
        self._plain = tokenizers.Tokenizer(backend.model)
        if backend.normalizer is not None:
            self._plain.normalizer = backend.normalizer
        if backend.pre_tokenizer is not None:
            self._plain.pre_tokenizer = backend.pre_tokenizer
        self._special = frozenset(id for id, token in added.items() if token.special)
        # Some vocabularies list runs of spaces and newlines among the added tokens. They steer nothing.
        control = {id: token.content for id, token in added.items() if token.special or token.content.strip("▁ \n\t\r")}
        self._control = frozenset(control)
        self._literals = frozenset(filter(None, control.values()))
        # Such tokens are looked for after normalising, which turns other characters into a literal (full-width
        # brackets, under NFKC).
        self._finds_normalised = backend.normalizer is not None and any(added[id].normalized for id in control)
        ordered = sorted(self._literals, key=len, reverse=True)
        self._literal = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        # Words among the added tokens are left out: hiding the "t" at each end would tear ordinary text
        # apart.
        marks = [text for text in ordered if not text[0].isalnum()]
        self._openings = frozenset(text[:n] for text in marks for n in range(1, len(text)))
        self._longest = max(map(len, ordered), default=0)
        self.size: int = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._bos_token, self._eos_token = bos_token, eos_token
        self.bos_id: int | None = None if bos_token is None else backend.token_to_id(bos_token)
        end = None if eos_token is None else backend.token_to_id(eos_token)
        self.eos_ids: frozenset[int] = frozenset(eos_ids) | (frozenset() if end is None else {end})
        self.template = template
        self._decoding = _decoding(backend)

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a checkpoint folder. ModelError, naming the file, where one is missing or damaged.

        tokenizer.json is needed; tokenizer_config.json, special_tokens_map.json, generation_config.json,
        config.json and chat_template.jinja are used where they are present.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                f"{folder.name}: tokenizer.json is missing from {folder}; download the model again, "
                "or look for a version of it that has one"
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(
                f"{folder.name}: tokenizer.json cannot be read ({_one_line(str(error))}); download it again"
            ) from None
        config = _json(folder / "tokenizer_config.json")
        tokens = _json(folder / "special_tokens_map.json") | config
        ends = [
            *_ids(_json(folder / "generation_config.json").get("eos_token_id")),
            *_ids(_json(folder / "config.json").get("eos_token_id")),
        ]
        return cls(
            backend,
            name=folder.name,
            eos_ids=ends,
            bos_token=_token(tokens.get("bos_token")),
            eos_token=_token(tokens.get("eos_token")),
            template=_template(folder, config),
        )

    # --- text and ids ---------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Ids of text as a model's author means it, with the added tokens that it names. No BOS is added."""
        return self._backend.encode(_encodable(text), add_special_tokens=False).ids

    def encode_plain(self, text: str) -> list[int]:
        """Ids of what a person typed: never one of a control token's, whatever it says."""
        ids = self._plain.encode(_encodable(text), add_special_tokens=False).ids
        if self._control.isdisjoint(ids):
            return ids
        # The model's own vocabulary held a control token's literal whole. Break the text until it cannot.
        if len(text) > 1:
            middle = len(text) // 2
            return self.encode_plain(text[:middle]) + self.encode_plain(text[middle:])
        return [id for id in self._bytes_of(text) if id not in self._control]

    def _bytes_of(self, character: str) -> Iterator[int]:
        for byte in _encodable(character).encode():
            for piece in (_BYTE_CHARACTERS[byte], f"<0x{byte:02X}>"):
                id = self._plain.token_to_id(piece)
                if id is not None:
                    yield id
                    break

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of `ids`; ids that mean nothing have no text."""
        return self._backend.decode([id for id in ids if 0 <= id < self.size], skip_special_tokens=skip_special)

    def detokenizer(self) -> Detokenizer:
        """A fresh one, for one answer. Its cost a token does not grow with the answer."""
        if self._decoding == "bytes":
            return _ByteDetokenizer(self._backend, self._special)
        return _PieceDetokenizer(self._backend, self._special, self._decoding == "pieces and bytes")

    # --- conversations --------------------------------------------------------------------------------------

    def prompt(
        self, messages: Sequence[Turn], *, add_generation_prompt: bool = True, thinking: bool | None = None
    ) -> list[int]:
        """The ids of a conversation by the checkpoint's chat template.

        A turn's `token_ids` stand for its content exactly where the rendered text contains it unchanged.
        ModelError where there is no template, or it fails.
        """
        hidden = _Hidden()
        contents = [self._masked(turn.content, hidden) for turn in messages]

        def render(marked: Sequence[int] = ()) -> str:
            chosen = set(marked)
            return self._render(
                [
                    (turn.role, hidden.mark(i, content) if i in chosen else content)
                    for i, (turn, content) in enumerate(zip(messages, contents, strict=True))
                ],
                add_generation_prompt,
                thinking,
            )

        text = render()
        # Marks around an answer tell exactly where it stands, if the template writes the same text with
        # them as without. One that trims does not, for answers with space at their ends; one that looks
        # into answers may not for others. So fewer and fewer are marked, the latest last.
        known = [i for i, turn in enumerate(messages) if turn.token_ids and contents[i]]
        tidy = [i for i in known if contents[i] == contents[i].strip()]
        for marked in (known, tidy, tidy[-1:]):
            if not marked:
                break
            with_marks = render(marked)
            if hidden.without_marks(with_marks) == text:
                text = with_marks
                break
        ids: list[int] = []
        for part in self._parts(text, hidden, messages, contents):
            ids += self.encode(part) if isinstance(part, str) else part
        return ids

    def _parts(
        self, text: str, hidden: "_Hidden", messages: Sequence[Turn], contents: Sequence[str]
    ) -> Iterator[str | list[int]]:
        """The rendered text as stretches to encode and ids that are settled already."""
        control = ""
        for before, index, inside in hidden.marked(text):
            known = () if index is None else messages[index].token_ids or ()
            if index is not None and inside == contents[index] and self._spliceable(known):
                between, settled = before, list(known)
            else:
                between, settled = before + inside, []
            for piece, literal in hidden.pieces(between):
                control += piece
                if literal:
                    yield from _nonempty(control)
                    control = ""
                    yield self.encode_plain(literal)
            if settled:
                yield from _nonempty(control)
                control = ""
                yield settled
        yield from _nonempty(control)

    def _spliceable(self, ids: Sequence[int]) -> bool:
        return bool(ids) and all(0 <= id < self.size for id in ids)

    def _render(self, turns: Sequence[tuple[str, str]], add_generation_prompt: bool, thinking: bool | None) -> str:
        if self.template is None:
            raise ModelError(
                f"{self._name} has no chat template, so it cannot hold a conversation; "
                "use the model's instruct or chat version",
                kind="template",
            )
        return self.template.render(
            [{"role": role, "content": content} for role, content in turns],
            add_generation_prompt=add_generation_prompt,
            bos_token=self._bos_token,
            eos_token=self._eos_token,
            thinking=thinking,
        )

    def _masked(self, content: str, hidden: "_Hidden") -> str:
        """`content` with whatever could become a control token hidden behind placeholders."""
        content = _encodable(content)
        masked = self._literal.sub(lambda found: hidden.hide(found[0]), content)
        # The end of one content and what the template or another content puts behind it could make a literal.
        body = masked.rstrip()
        for length in range(min(self._longest - 1, len(body)), 0, -1):
            if body[-length:] in self._openings:
                masked = body[:-length] + hidden.hide(body[-length:]) + masked[len(body) :]
                break
        if self._finds_normalised and not self._control.isdisjoint(self.encode(masked)):
            start, end = len(content) - len(content.lstrip()), len(content.rstrip())
            masked = content[:start] + hidden.hide(content[start:end]) + content[end:]
        return masked


class _Hidden:
    """Placeholders for text that a template carries and the tokenizer must not read; marks around answers.

    Each begins with 96 random bits, drawn for one prompt, so that nothing in a conversation or a template
    can hold one; digits and private-use characters, so that changing case or trimming leaves it alone.
    """

    def __init__(self) -> None:
        self._key = f"{secrets.randbits(96):029d}"
        self._literals: list[str] = []
        self._placeholder = re.compile(f"\ue000{self._key}:(\\d+)\ue001")
        self._mark = re.compile(f"\ue002{self._key}:(\\d+)\ue003(.*?)\ue004{self._key}:\\1\ue003", re.DOTALL)
        self._any_mark = re.compile(f"[\ue002\ue004]{self._key}:\\d+\ue003")

    def hide(self, literal: str) -> str:
        self._literals.append(literal)
        return f"\ue000{self._key}:{len(self._literals) - 1}\ue001"

    def mark(self, index: int, content: str) -> str:
        return f"\ue002{self._key}:{index}\ue003{content}\ue004{self._key}:{index}\ue003"

    def without_marks(self, text: str) -> str:
        return self._any_mark.sub("", text)

    def marked(self, text: str) -> Iterator[tuple[str, int | None, str]]:
        """(text before, index, answer) for each marked answer, then the rest, without one."""
        at = 0
        for found in self._mark.finditer(text):
            yield self.without_marks(text[at : found.start()]), int(found[1]), self.without_marks(found[2])
            at = found.end()
        yield self.without_marks(text[at:]), None, ""

    def pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """(text before, hidden literal) for each placeholder, then the rest with an empty one."""
        at = 0
        for found in self._placeholder.finditer(text):
            yield text[at : found.start()], self._literals[int(found[1])]
            at = found.end()
        yield text[at:], ""


# --- streaming ----------------------------------------------------------------------------------------------


def _byte_characters() -> list[str]:
    """The character that byte-level BPE writes for each byte (GPT-2's `bytes_to_unicode`)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(spare)) for byte in range(256)]


_BYTE_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in enumerate(_BYTE_CHARACTERS)}


class _ByteDetokenizer:
    """For byte-level BPE, where a token is a few bytes of UTF-8."""

    def __init__(self, backend: tokenizers.Tokenizer, special: frozenset[int]) -> None:
        self._backend = backend
        self._special = special
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:
        if id in self._special or id < 0:
            return ""
        return self._text.decode(self._bytes(self._backend.id_to_token(id) or ""))

    def flush(self) -> str:
        return self._text.decode(b"", final=True)

    @staticmethod
    @lru_cache(maxsize=4096)
    def _bytes(piece: str) -> bytes:
        try:
            return bytes(_BYTES[character] for character in piece)
        except KeyError:  # an added token, which is text as it stands
            return piece.encode()


class _PieceDetokenizer:
    """For every other decoder: what one more token adds to the text of the few before it."""

    def __init__(self, backend: tokenizers.Tokenizer, special: frozenset[int], byte_pieces: bool) -> None:
        self._backend = backend
        self._special = special
        self._byte_pieces = byte_pieces
        self._recent: list[int] = []
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, id: int) -> str:
        if id in self._special or id < 0:
            return ""
        piece = self._backend.id_to_token(id)
        if piece is None:
            return ""
        if self._byte_pieces and (byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", piece)):
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


def _decoding(backend: tokenizers.Tokenizer) -> str:
    """The detokeniser that fits: "bytes" (byte-level BPE), "pieces and bytes" (<0xNN> tokens), "pieces"."""
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


# --- files --------------------------------------------------------------------------------------------------


def _json(path: Path) -> dict[str, Any]:
    """The table in a small JSON file; an empty one where there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        detail = _one_line(str(error))
        raise ModelError(f"{path.parent.name}: {path.name} is damaged ({detail}); download it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path.parent.name}: {path.name} is damaged (no table); download it again")
    return content


def _read(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"{path} is not a file; put the checkpoint's own file there")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path.parent.name}: {path.name} is damaged (no text); download it again") from None


def _template(folder: Path, config: dict[str, Any]) -> ChatTemplate | None:
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        path = folder / name
        if name.endswith(".jinja"):
            source: Any = _read(path) if path.exists() else None
        else:
            source = (config if name == "tokenizer_config.json" else _json(path)).get("chat_template")
        if isinstance(source, list):  # several, by name
            named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
            source = named.get("default") or next(iter(named.values()), None)
        if isinstance(source, str):
            return ChatTemplate(source, f"{folder.name}: the chat template in {name}")
    return None


def _token(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _ids(value: Any) -> Iterator[int]:
    for id in value if isinstance(value, list) else [value]:
        if isinstance(id, int) and not isinstance(id, bool) and id >= 0:
            yield id


# --- small things -------------------------------------------------------------------------------------------

_SURROGATE = re.compile("[\ud800-\udfff]")


def _encodable(text: str) -> str:
    # A terminal can hand over half of a UTF-16 pair; no tokenizer takes it.
    return _SURROGATE.sub("\ufffd", text)


def _nonempty(text: str) -> Iterator[str]:
    if text:
        yield text


def _one_line(text: str) -> str:
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
    return clean if len(clean) <= 120 else clean[:119] + "…"
