"""tokenizer.json from what a GGUF file says about its vocabulary. Knows byte-level BPE and nothing else."""

import json
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.weights.safetensors import short

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 splits text into words: transformers, tokenization_qwen2.py."""

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
"""ggml's token types; the others are ordinary pieces."""


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [first, second]}


_QWEN2 = _sequence(
    {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
    _byte_level(False),
)
_SPLITTING: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "default": (None, _byte_level(True)),
    "gpt-2": (None, _byte_level(True)),
    "smollm": (None, _sequence({"type": "Digits", "individual_digits": True}, _byte_level(True))),
    "qwen2": ({"type": "NFC"}, _QWEN2),
}
"""llama.cpp's names: (normaliser, pre-tokeniser)."""


def tokenizer_json(
    path: Path, *, kind: str | None, splitting: str, tokens: list[str], types: list[int], merges: list[str]
) -> str:
    """The text of tokenizer.json. ModelError where the vocabulary is damaged, or of another kind."""
    if kind != "gpt2" or splitting not in _SPLITTING:
        what = f"a {short(kind or 'missing')} vocabulary" if kind != "gpt2" else f"text split as {short(splitting)}"
        raise ModelError(
            f"{path} has {what}, which is not supported yet; use a version of this model made for MLX",
            "unsupported",
        )
    vocabulary = {token: id for id, token in enumerate(tokens)}
    pairs = [merge.split(" ") for merge in merges]
    if not tokens or len(vocabulary) != len(tokens) or not all(len(pair) == 2 for pair in pairs):
        raise ModelError(f"{path} has a damaged vocabulary (a token twice, or a merge of no two); download it again")
    if types and len(types) != len(tokens):
        raise ModelError(f"{path} has {len(tokens)} tokens and types for {len(types)}; download it again")
    normalizer, pre_tokenizer = _SPLITTING[splitting]
    added = []
    for id, (token, type_) in enumerate(zip(tokens, types, strict=False)):
        if type_ in (_CONTROL, _USER_DEFINED) and token:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            added.append({"id": id, "content": token, **flags, "special": type_ == _CONTROL})
        elif type_ == _UNUSED:
            del vocabulary[token]  # names of rows that only fill the matrix up
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": _byte_level(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": pairs,
        },
    }
    return json.dumps(content, ensure_ascii=False)
