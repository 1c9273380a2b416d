"""A checkpoint's tokenizer: text to ids, ids to text as they arrive, a conversation to a prompt.

Two rules hold here. What a person types never becomes a control token, whatever they type. And nobody is ever shown
half a character. This file knows no MLX and no weights.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

from model.backends import Backend, Library, read_library
from model.config import RWKV4_END
from model.conversations import conversation_format
from model.detokenizer import Detokenizer, Errors
from model.encoding import Encoder
from model.errors import ModelError, one_line
from model.placeholders import Placeholders
from model.template import ChatTemplate
from model.tokenizer_files import (
    LIBRARY,
    SENTENCEPIECE,
    ids_in,
    is_world,
    named_tokens,
    read_file,
    read_table,
    token_text,
)
from model.world import read_world

PaddingSide = Literal["left", "right"]


class TokenizerChoices(TypedDict, total=False):
    """The fields of `TokenizerOptions`, for overriding some of them."""

    errors: Errors
    unk_token: str | None
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    padding_side: PaddingSide
    split_special_tokens: bool


@dataclass(frozen=True)
class TokenizerOptions:
    """What people set on a tokenizer; names and defaults as in transformers. ModelError("request") for other values."""

    errors: Errors = "replace"
    """Bytes that are no UTF-8, when ids become text: shown as U+FFFD, refused, or left out."""
    unk_token: str | None = None
    """What stands for text that the vocabulary cannot spell. Byte-level vocabularies can spell all."""
    bos_token: str | None = None
    eos_token: str | None = None
    """Ends an answer, besides what generation_config.json names."""
    pad_token: str | None = None
    padding_side: PaddingSide = "right"
    split_special_tokens: bool = False
    """Whether `encode` reads the names of special tokens as ordinary text. Prompts keep theirs."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not _fits(field.name, value):
                wanted = _CHOICES.get(field.name, "a token or None")
                raise ModelError(f"{field.name} is {one_line(repr(value))}; it must be {wanted}", "request")


_LOOKED_AT = 16
"""Tokens before another one that may change its text: enough for a character and for where spaces go."""
_TOKENS = frozenset({"unk_token", "bos_token", "eos_token", "pad_token"})

_CHOICES = {
    "errors": "one of replace, strict and ignore",
    "padding_side": "left or right",
    "split_special_tokens": "True or False",
}


def _fits(option: str, value: object) -> bool:
    if option == "errors":
        return isinstance(value, str) and value in get_args(Errors)
    if option == "padding_side":
        return isinstance(value, str) and value in get_args(PaddingSide)
    if option == "split_special_tokens":
        return isinstance(value, bool)
    return value is None or isinstance(value, str)


@dataclass(frozen=True)
class Turn:
    """One message. `token_ids`: an answer's ids as it was generated; they stand for `content` where they spell it."""

    role: str
    content: str
    token_ids: tuple[int, ...] | None = None


class Tokenizer:
    """The tokenizer of one checkpoint folder."""

    def __init__(
        self,
        backend: Backend,
        *,
        name: str = "tokenizer",
        eos_ids: Iterable[int] = (),
        options: TokenizerOptions = TokenizerOptions(),
        tokens: Mapping[str, object] | None = None,
        template: ChatTemplate | None = None,
    ) -> None:
        """`name` is what errors call the checkpoint; `eos_ids` end an answer, as the eos token does.

        `tokens` are the names by which templates may ask for special tokens, besides those of the options.
        """
        self._backend = backend
        self._name = name
        self.options = options
        self._encode_prompt = Encoder(backend)
        self._packed_lead = lru_cache(maxsize=512)(self._spelled_before)  # asked again at every turn
        added = backend.added
        self._special = frozenset(id for id, token in added.items() if token.special)
        # Some vocabularies list runs of spaces and newlines among the added tokens. They steer nothing.
        control = {id: token.content for id, token in added.items() if token.special or token.content.strip("▁ \n\t\r")}
        self._control = frozenset(control)
        self.controls: Mapping[int, str] = dict(sorted(control.items()))
        """The tokens that steer and are no text, by id, with their names. Nothing that a person types becomes one."""
        self._literals = frozenset(filter(None, control.values()))
        # Such tokens are looked for after normalising, which turns other characters into a literal (under NFKC
        # full-width brackets).
        self._finds_normalised = backend.normalises and any(added[id].normalized for id in control)
        ordered = sorted(self._literals, key=len, reverse=True)
        self._literal = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        # Words among the added tokens are left out: hiding the "t" at each end would tear ordinary text apart.
        marks = [text for text in ordered if not text[0].isalnum()]
        self._openings = frozenset(text[:n] for text in marks for n in range(1, len(text)))
        self._longest = max(map(len, ordered), default=0)
        self.size: int = backend.size
        self.unk_id, self.bos_id, self.eos_id, self.pad_id = map(
            self._id, (options.unk_token, options.bos_token, options.eos_token, options.pad_token)
        )
        self.eos_ids: frozenset[int] = frozenset(eos_ids) | (frozenset() if self.eos_id is None else {self.eos_id})
        named = {name: token for name, token in (tokens or {}).items() if name not in _TOKENS}
        chosen = {name: getattr(options, name) for name in _TOKENS}
        self._tokens = named | {name: token for name, token in chosen.items() if token is not None}
        self.template = template

    def same_tokens(self, other: "Tokenizer") -> bool:
        """Whether every id is the same token in both."""
        return self.size == other.size and self._backend.vocabulary() == other._backend.vocabulary()

    @classmethod
    def from_folder(
        cls, folder: Path, shape: Mapping[str, Any] | None = None, **options: Unpack[TokenizerChoices]
    ) -> "Tokenizer":
        """The tokenizer of a checkpoint folder. ModelError, naming the file, where one is missing or damaged.

        tokenizer.json is needed, or the vocabulary of RWKV's World models; tokenizer_config.json,
        special_tokens_map.json, generation_config.json, config.json and chat_template.jinja are used where they are
        present; `shape` stands for what config.json says where there is none. `options` go over what these say;
        ModelError("request") for a token that the vocabulary lacks.
        """
        config = read_table(folder / "tokenizer_config.json")
        tokens = read_table(folder / "special_tokens_map.json") | config
        shape = read_table(folder / "config.json") if shape is None else shape
        ends = [
            *ids_in(read_table(folder / "generation_config.json").get("eos_token_id")),
            *ids_in(shape.get("eos_token_id", RWKV4_END if shape.get("model_type") == "rwkv" else None)),
        ]
        read: dict[str, Any] = {name: token_text(value) if name in _TOKENS else value for name, value in tokens.items()}
        written = {
            field.name: read[field.name]
            for field in fields(TokenizerOptions)
            if field.name in read and _fits(field.name, read[field.name])
        }
        world = read_world(folder, config) if is_world(folder, shape) else None
        if world is not None:
            # Only its control tokens steer, whatever the files around it name: ids of some library's, an empty line.
            names = {None, *(token.content for token in world.added.values())}
            end = world.id_to_token(0)
            written = {"eos_token": end, "pad_token": end} | {
                name: value for name, value in written.items() if name not in _TOKENS or value in names
            }
            ends = [0, *(id for id in ends if id in world.added)]
        try:
            chosen = replace(TokenizerOptions(**written), **options)
        except TypeError:
            known = ", ".join(field.name for field in fields(TokenizerOptions))
            raise ModelError(
                f"A tokenizer's options are {known}; {one_line(str([*options]))} were given", "request"
            ) from None
        backend = world or _library(folder, chosen.unk_token, config)
        for name in _TOKENS & options.keys():
            token = getattr(chosen, name)
            # What stands for text that cannot be spelled has to be a token of the model itself.
            if token is not None and backend.token_to_id(token, added=name != "unk_token") is None:
                raise ModelError(
                    f"{folder.name} has no {one_line(repr(token))} to be its {name}; choose a token of its vocabulary",
                    "request",
                )
        return cls(
            backend,
            name=folder.name,
            eos_ids=ends,
            options=chosen,
            tokens=named_tokens(tokens),
            template=conversation_format(folder, config, shape.get("model_type"), world is not None),
        )

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)

    # --- text and ids ---------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Ids of text as a model's author means it, with the added tokens that it names. No BOS is added."""
        return self._backend.encode(_encodable(text), "ordinary" if self.options.split_special_tokens else "all")

    def encode_control(self, text: str) -> list[int]:
        """Ids of what a template writes: its control tokens are meant, whatever the options say."""
        return self._encode_prompt(text)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of what a person typed: never one of a control token's, whatever it says."""
        ids = self._backend.encode(_encodable(text), "none")
        if self._control.isdisjoint(ids):
            return ids
        # The model's own vocabulary held a control token's literal whole. Break the text until it cannot.
        if len(text) > 1:
            middle = len(text) // 2
            return self.encode_plain(text[:middle]) + self.encode_plain(text[middle:])
        return [id for id in self._backend.encode_bytes(_encodable(text)) if id not in self._control]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of `ids`; ids that mean nothing have no text, and bytes that are none what `options.errors` says."""
        known = [id for id in ids if 0 <= id < self.size]
        if self.options.errors == "replace":
            return self._backend.decode(known, skip_special)
        text = self._streaming(self._special if skip_special else frozenset())
        return "".join([*map(text.add, known), text.flush()])

    def detokenizer(self) -> Detokenizer:
        """A fresh one, for one answer. Its cost a token does not grow with the answer."""
        return self._streaming(self._special)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each of `ids`; joined it is what they decode to. A character of several stands with the last."""
        text = self.detokenizer()
        pieces = [text.add(id) for id in ids]
        if pieces:
            pieces[-1] += text.flush()
        return pieces

    def bytes_of(self, id: int) -> bytes:
        """The bytes that a token stands for, a control token's name; none for an id that is no token."""
        name = self.controls.get(id)
        return self._backend.bytes_of(id) if name is None else name.encode()

    @property
    def kind(self) -> str:
        """How it makes tokens of text, in the field's words: byte-level BPE, Unigram."""
        return self._backend.kind

    def text_after(self, before: Sequence[int], id: int) -> str:
        """What `id` adds to the text of `before`, or the name of a special token; U+FFFD for part of a character."""
        if id in self._special:
            return self._backend.id_to_token(id) or ""
        text = self.detokenizer()
        for earlier in before[-_LOOKED_AT:]:
            text.add(earlier)
        return text.add(id) + text.flush()

    def _streaming(self, skipped: frozenset[int]) -> Detokenizer:
        return self._backend.detokenizer(skipped, self.options.errors, self._name)

    def pad(self, batch: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Rows of ids brought to the length of the longest, and their masks: 1 for a row's own ids, 0 for padding.

        Padding goes to `options.padding_side`. ModelError("request") where there is no pad token.
        """
        if self.pad_id is None:
            raise ModelError(
                f"{self._name} has no pad token, so its prompts cannot stand in one batch; choose one with pad_token",
                "request",
            )
        length = max(map(len, batch), default=0)
        ids, mask = [], []
        for row in batch:
            more = length - len(row)
            sides = (more, 0) if self.options.padding_side == "left" else (0, more)
            ids.append([self.pad_id] * sides[0] + list(row) + [self.pad_id] * sides[1])
            mask.append([0] * sides[0] + [1] * len(row) + [0] * sides[1])
        return ids, mask

    # --- conversations --------------------------------------------------------------------------------------

    def prompt(
        self, messages: Sequence[Turn], *, add_generation_prompt: bool = True, thinking: bool | None = None
    ) -> list[int]:
        """The ids of a conversation by the checkpoint's chat template.

        A turn's `token_ids` stand for its content exactly where they decode to it and the rendered text contains it
        unchanged. `thinking`: whether the model is to reason first, where the template knows the choice.
        ModelError where there is no template, or it fails.
        """
        messages, hidden = [*map(self.tidied, messages)], Placeholders()
        contents = [self._masked(turn.content, hidden) for turn in messages]
        ids: list[int] = []
        for part in self._laid_out(messages, contents, hidden, add_generation_prompt, thinking):
            ids += self.encode_control(part) if isinstance(part, str) else part
        return ids

    def around(self, messages: Sequence[Turn], *, thinking: bool | None = None) -> "Around | None":
        """The prompt of `messages`, then one whose words may still change; the last of them are left out here.

        None where the template does more with those than to put them somewhere. ModelError as in `prompt`.
        """
        messages, hidden = [*map(self.tidied, messages)], Placeholders()
        contents = [*(self._masked(turn.content, hidden) for turn in messages[:-1]), hidden.gap]
        parts = [*self._laid_out(messages, contents, hidden, True, thinking)]
        last = parts.pop() if parts else ""
        if not isinstance(last, str) or last.count(hidden.gap) != 1:
            return None
        begin, end = last.split(hidden.gap)
        *before, begin = [*self._backend.units(begin)] or [""]
        length = sum(len(self.encode_control(part) if isinstance(part, str) else part) for part in (*parts, *before))
        return Around(self, length, begin, end)

    def _laid_out(
        self,
        messages: Sequence[Turn],
        contents: Sequence[str],
        hidden: Placeholders,
        add_generation_prompt: bool,
        thinking: bool | None,
    ) -> Iterator[str | list[int]]:
        """The rendered conversation as stretches to encode and ids that are settled already."""

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
        # Marks around an answer tell exactly where it stands, if the template writes the same text with them as
        # without. One that trims does not, for answers with space at their ends; one that looks into answers may not
        # for others. So fewer and fewer are marked, the latest last.
        known = [i for i, turn in enumerate(messages) if turn.token_ids and contents[i]]
        tidy = [i for i in known if contents[i] == contents[i].strip()]
        for marked in (known, tidy, tidy[-1:]):
            if not marked:
                break
            with_marks = render(marked)
            if hidden.without_marks(with_marks) == text:
                text = with_marks
                break
        yield from self._parts(text, hidden, messages, contents)

    def length(self, begin: str, content: str, end: str) -> int | None:
        """Tokens of what a person typed between two stretches of a rendered template; None where it might be looked at
        there: for being empty, for space at its ends, or for the name of a control token."""
        content = self.tidied(Turn("user", content)).content
        if not content or content != content.strip() or self._literal.search(content):
            return None
        hidden = Placeholders()
        text = begin + self._masked(content, hidden) + end
        parts = self._parts(text, hidden, (), ())
        return sum(len(self.encode_control(part) if isinstance(part, str) else part) for part in parts)

    def tidied(self, turn: Turn) -> Turn:
        """As it may stand in a conversation: see `ChatTemplate.tidied`."""
        content = self.template.tidied(turn.role, turn.content) if self.template else turn.content
        return turn if content == turn.content else replace(turn, content=content)

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends an answer where the format has no token for it."""
        return self.template.stops if self.template else ()

    def lead(self, prompt: Sequence[int]) -> str:
        """What an answer behind this prompt begins with that is none of its text; most formats have no such thing."""
        leads = self.template.leads if self.template else {}
        tail = self.decode(prompt[-_LOOKED_AT:], skip_special=False) if leads else ""
        return next((lead for end, lead in leads.items() if tail.endswith(end)), "")

    def can_choose_thinking(self) -> bool:
        """Whether the chat template writes another prompt where the model is to reason than where it is not."""
        if self.template is None or "thinking" not in self.template.source:
            return False  # it reads no variable of such a name, which need not be rendered to know
        asked = [("user", "hello")]
        try:
            return self._render(asked, True, thinking=True) != self._render(asked, True, thinking=False)
        except ModelError:
            return False  # no template, or one that fails: said where a conversation is to be rendered

    def _parts(
        self, text: str, hidden: Placeholders, messages: Sequence[Turn], contents: Sequence[str]
    ) -> Iterator[str | list[int]]:
        """The rendered text as stretches to encode and ids that are settled already."""
        control = ""
        for before, index, inside in hidden.marked(text):
            known = () if index is None else messages[index].token_ids or ()
            lead = None
            if index is not None and inside == contents[index]:
                lead = self._lead_of(known, messages[index].content)
            if lead is not None and before.endswith(lead):
                between, settled = before.removesuffix(lead), list(known)
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

    def _lead_of(self, ids: Sequence[int], content: str) -> str | None:
        """What `ids` spell before exactly this content, one of the template's leads if anything; None where they spell
        something else: those of an answer may hold its reasoning or a stop string too."""
        try:
            return self._packed_lead(array("I", ids).tobytes(), content) if ids else None
        except OverflowError:  # nobody's ids
            return None

    def _spelled_before(self, packed: bytes, content: str) -> str | None:
        ids = array("I", packed)
        spelled = self.decode(ids) if max(ids) < self.size else ""
        leads = ("", *self.template.leads.values()) if self.template else ("",)
        return next((lead for lead in leads if spelled == lead + content), None)

    def _render(self, turns: Sequence[tuple[str, str]], add_generation_prompt: bool, thinking: bool | None) -> str:
        if self.template is None:
            raise ModelError(
                f"{self._name} has no chat template, so it cannot hold a conversation; "
                "use the model's instruct or chat version",
                kind="template",
            )
        text = self.template.render(
            [{"role": role, "content": content} for role, content in turns],
            add_generation_prompt=add_generation_prompt,
            tokens=self._tokens,
            thinking=thinking,
        )
        return _encodable(text)

    def _masked(self, content: str, hidden: Placeholders) -> str:
        """`content` with whatever could become a control token hidden behind placeholders."""
        content = _encodable(content)
        masked = self._literal.sub(lambda found: hidden.hide(found[0]), content)
        # The end of one content and what the template or another content puts behind it could make a literal.
        body = masked.rstrip()
        for length in range(min(self._longest - 1, len(body)), 0, -1):
            if body[-length:] in self._openings:
                masked = body[:-length] + hidden.hide(body[-length:]) + masked[len(body) :]
                break
        if self._finds_normalised and not self._control.isdisjoint(self.encode_control(masked)):
            start, end = len(content) - len(content.lstrip()), len(content.rstrip())
            masked = content[:start] + hidden.hide(content[start:end]) + content[end:]
        return masked


@dataclass(frozen=True)
class Around:
    """A prompt without the words of its last message: all that need not be made again while these are typed."""

    tokenizer: Tokenizer
    before: int
    """Tokens of what stands before `begin`."""
    begin: str
    """From the last control token on."""
    end: str

    def length(self, content: str) -> int | None:
        """Tokens of the prompt with these words; None where only rendering it tells."""
        inside = self.tokenizer.length(self.begin, content, self.end)
        return None if inside is None else self.before + inside


def _library(folder: Path, unknown: str | None, config: Mapping[str, Any]) -> Library:
    name = LIBRARY
    if not (folder / LIBRARY).exists() and (folder / SENTENCEPIECE).is_file():
        name = SENTENCEPIECE
    if not (folder / name).is_file():
        raise ModelError(
            f"{folder.name}: tokenizer.json is missing from {folder}; download the model again, "
            "or look for a version of it that has one"
        )
    if name == LIBRARY:
        text = read_file(folder / name)
    else:
        from model.sentencepiece import library_json

        text = library_json(folder, config)
    try:
        return Library(read_library(text), unknown)
    except ValueError as error:
        raise ModelError(f"{folder.name}: {name} cannot be read ({error}); download it again") from None


_SURROGATE = re.compile("[\ud800-\udfff]")


def _encodable(text: str) -> str:
    # A terminal or a template can hand over half of a UTF-16 pair; no tokenizer takes it.
    return _SURROGATE.sub("\ufffd", text)


def _nonempty(text: str) -> Iterator[str]:
    if text:
        yield text
