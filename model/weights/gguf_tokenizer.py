"""tokenizer.json from what a GGUF file says about its vocabulary: byte-level BPE, and sentencepiece's BPE.

How a vocabulary's text is split into words is not in the file, only a name for it; the names known here are those whose
published tokenizer.json is known too. It knows no weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.weights.gguf_header import Header
from model.weights.safetensors import short

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 splits text into words: transformers, tokenization_qwen2.py."""
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Llama 3's tokenizer.json: as Qwen2's, but for digits, which come in threes."""
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Mistral NeMo's tokenizer.json."""

MAX_LETTERS = 4_000_000
"""Of all pieces of a sentencepiece vocabulary together; merges are looked for at every letter. Llama 2 has 170,000."""

_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
"""ggml's token types; the others are ordinary pieces."""


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return _sequence(split, _byte_level(False))


@dataclass(frozen=True)
class _Splitting:
    """What a name means: how text is normalised and split, and whether a word that is a token stays whole."""

    pre_tokenizer: dict[str, Any]
    normalizer: dict[str, Any] | None = None
    ignore_merges: bool = False


_GPT2 = _Splitting(_byte_level(True))
_LLAMA3 = _Splitting(_split(LLAMA3), ignore_merges=True)
_SPLITTING = {
    "default": _GPT2,
    "gpt-2": _GPT2,
    "smollm": _Splitting(_sequence({"type": "Digits", "individual_digits": True}, _byte_level(True))),
    "qwen2": _Splitting(_split(QWEN2), normalizer={"type": "NFC"}),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "tekken": _Splitting(_split(TEKKEN), ignore_merges=True),
}
"""By llama.cpp's names (`tokenizer.ggml.pre`)."""


@dataclass(frozen=True)
class Vocabulary:
    """What the file says: `kind` and `splitting` by llama.cpp's names, one type and perhaps one score a token."""

    kind: str
    splitting: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    add_space: bool

    @classmethod
    def of(cls, header: Header) -> "Vocabulary":
        """That of a file. How one splits that is from before this had a name, its architecture tells."""
        splitting = "qwen2" if (header.text("general.architecture") or "").startswith("qwen") else "default"
        return cls(
            kind=header.text("tokenizer.ggml.model") or "missing",
            splitting=header.text("tokenizer.ggml.pre") or splitting,
            tokens=header.items("tokenizer.ggml.tokens", str),
            types=header.items("tokenizer.ggml.token_type", int),
            merges=header.items("tokenizer.ggml.merges", str),
            scores=header.items("tokenizer.ggml.scores", float),
            add_space=header.flag("tokenizer.ggml.add_space_prefix", otherwise=True),
        )


def refuse_unknown(path: Path, vocabulary: Vocabulary) -> None:
    """ModelError where it is of another kind than those known here; its tokens are not looked at."""
    kind, splitting = vocabulary.kind, vocabulary.splitting
    if kind not in ("gpt2", "llama") or (kind == "gpt2" and splitting not in _SPLITTING):
        what = f"text split as {short(splitting)}" if kind == "gpt2" else f"a {short(kind)} vocabulary"
        raise ModelError(
            f"{path} has {what}, which is not supported; use a version of this model made for MLX", "unsupported"
        )


def tokenizer_json(path: Path, vocabulary: Vocabulary) -> str:
    """The text of tokenizer.json. ModelError where the vocabulary is damaged, or of another kind."""
    return json.dumps(tokenizer_content(path, vocabulary), ensure_ascii=False)


def tokenizer_content(path: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """What stands in it. ModelError as there."""
    kind, tokens, types = vocabulary.kind, vocabulary.tokens, vocabulary.types
    refuse_unknown(path, vocabulary)
    ids = {token: id for id, token in enumerate(tokens)}
    if not tokens or len(ids) != len(tokens):
        raise ModelError(f"{path} has a damaged vocabulary (it is empty or has a token twice); download it again")
    for what, items in (("types", types), ("scores", vocabulary.scores)):
        if items and len(items) != len(tokens):
            raise ModelError(f"{path} has {len(tokens)} tokens and {what} for {len(items)}; download it again")
    types = types or [1] * len(tokens)
    special = {_CONTROL} if kind == "gpt2" else {_CONTROL, _UNKNOWN}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": token, **flags, "special": type_ in special}
            for id, (token, type_) in enumerate(zip(tokens, types, strict=True))
            if token and type_ in {*special, _USER_DEFINED}
        ],
        **(_bytes(path, vocabulary) if kind == "gpt2" else _pieces(path, vocabulary, types)),
        "post_processor": None,
    }
    # Names of rows that only fill the matrix up.
    content["model"]["vocab"] = {token: id for token, id in ids.items() if types[id] != _UNUSED}
    return content


def _bytes(path: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Byte-level BPE, as GPT-2 has it."""
    pairs = [merge.split(" ") for merge in vocabulary.merges]
    if not all(len(pair) == 2 for pair in pairs):
        raise ModelError(f"{path} has a damaged vocabulary (a merge of no two); download it again")
    splitting = _SPLITTING[vocabulary.splitting]
    return {
        "normalizer": splitting.normalizer,
        "pre_tokenizer": splitting.pre_tokenizer,
        "decoder": _byte_level(True),
        "model": _bpe(pairs, None, ignore_merges=splitting.ignore_merges),
    }


def _pieces(path: Path, vocabulary: Vocabulary, types: list[int]) -> dict[str, Any]:
    """BPE over characters with ▁ for a space, as sentencepiece has it (transformers, `LlamaConverter`)."""
    if sum(map(len, vocabulary.tokens)) > MAX_LETTERS:
        raise ModelError(f"{path} has a damaged vocabulary (its tokens are too long); download it again")
    if not vocabulary.scores:
        raise ModelError(f"{path} has a vocabulary without scores, of which nothing can be made; download it again")
    unknown = next((token for token, type_ in zip(vocabulary.tokens, types, strict=True) if type_ == _UNKNOWN), None)
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    begin = [{"type": "Prepend", "prepend": "▁"}] if vocabulary.add_space else []
    end = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.add_space else []
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*begin, space]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *end]},
        "model": _bpe(_merges(vocabulary, types), unknown, byte_fallback=_BYTE in types),
    }


def _merges(vocabulary: Vocabulary, types: list[int]) -> list[list[str]]:
    """Each way to make an ordinary piece of two others, the best score first.

    sentencepiece merges the neighbours that make the piece of the best score; one after the other by these ranks comes
    to the same. Among the ways to make one piece, transformers' order (`generate_merges`).
    """
    tokens, scores = vocabulary.tokens, vocabulary.scores
    # The other types are never made by merging: they are found as a whole, before, or fill in where nothing fits.
    others = (_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE)
    ordinary = {token: id for id, token in enumerate(tokens) if types[id] not in others}
    found = []
    for token, id in ordinary.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ordinary and right in ordinary:
                found.append((scores[id], left, right))
    found.sort(key=lambda way: (-way[0], -len(way[1]), -len(way[2])))
    return [[left, right] for _, left, right in found]


def _bpe(
    merges: list[list[str]],
    unknown: str | None,
    *,
    ignore_merges: bool = False,
    byte_fallback: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unknown is not None,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "merges": merges,
    }
