"""tokenizer.json from sentencepiece's own file, tokenizer.model, for checkpoints that come without one.

The file is a protocol buffer (sentencepiece_model.proto, `ModelProto`), read here as data, field by field; only BPE
vocabularies are known. What tokenizer_config.json says of its control tokens goes over what the file says. It knows no
prompts.
"""

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.tokenizer_files import SENTENCEPIECE, token_text
from model.weights.gguf_tokenizer import Vocabulary, tokenizer_content

MAX_FILE = 64 * 1024 * 1024
"""Bytes; the largest published vocabularies have a tenth of it."""
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
"""sentencepiece's types of pieces, which ggml has taken over."""
_BPE = 2
"""The model type that is known here, of `TrainerSpec`."""
_RENAMED = {"PanguTokenizer": {"[unused16]": "<think>", "[unused17]": "</think>"}}
"""What a kind of tokenizer has in place of the tags of reasoning: it gets their names, by which reasoning is known."""

_Value = int | bytes


def library_json(folder: Path, config: Mapping[str, Any]) -> str:
    """The text of a tokenizer.json with the same ids. `config`: what tokenizer_config.json says.

    ModelError where the file is damaged or its vocabulary of another kind.
    """
    path = folder / SENTENCEPIECE
    label = f"{folder.name}: {SENTENCEPIECE}"
    try:
        if path.stat().st_size > MAX_FILE:
            raise ModelError(f"{label} is larger than any vocabulary; get the checkpoint again.")
        model = _fields(path.read_bytes())
        tokens, scores, types = [], [], []
        for piece in model.get(1, []):
            token, score, kind = _piece(piece)
            tokens.append(token)
            scores.append(score)
            types.append(kind)
        trainer, normalizer = (_fields(_bytes(model.get(number, [b""])[-1])) for number in (2, 3))
        kind, suffixed = _number(trainer, 3, 1), _number(trainer, 24, 0)
        prefixed, normalizers = bool(_number(normalizer, 3, 1)), _normalizers(normalizer)
    except OSError as error:
        raise ModelError(f"{label} cannot be read ({error.strerror}); check who may read it.") from None
    except (ValueError, struct.error):
        raise ModelError(f"{label} is damaged; download it again.") from None
    if kind != _BPE or suffixed:
        raise ModelError(
            f"{label} is not byte-pair encoding with ▁ before words, which alone is read from such a file; choose a "
            "version of the model with a tokenizer.json.",
            "unsupported",
        )
    vocabulary = Vocabulary("llama", "default", tokens, types, [], scores, prefixed)
    content = tokenizer_content(path, _steered(vocabulary, config))
    content["normalizer"]["normalizers"][:0] = normalizers
    return _renamed(content, _RENAMED.get(str(config.get("tokenizer_class")), {}))


def _steered(vocabulary: Vocabulary, config: Mapping[str, Any]) -> Vocabulary:
    """With the control tokens that the configuration names, by their ids, wherever they are those of the file."""
    types = list(vocabulary.types)
    named = config.get("added_tokens_decoder")
    for key, value in (named if isinstance(named, dict) else {}).items():
        id = int(key) if key.isdecimal() and len(key) < 10 else len(types)
        if id < len(types) and token_text(value) == vocabulary.tokens[id]:
            special = isinstance(value, dict) and value.get("special") is True
            types[id] = _CONTROL if special else _USER_DEFINED
    return replace(vocabulary, types=types)


def _normalizers(spec: Mapping[int, list[_Value]]) -> list[dict[str, Any]]:
    """What is done to a text before its spaces become ▁."""
    found: list[dict[str, Any]] = []
    if charsmap := _bytes(spec.get(2, [b""])[-1]):
        found.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
    if _number(spec, 4, 1):  # remove_extra_whitespaces
        found.append({"type": "Replace", "pattern": {"Regex": r"\A +| +\z"}, "content": ""})  # spaces, no line breaks
        found.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    return found


def _renamed(content: dict[str, Any], names: Mapping[str, str]) -> str:
    """With other names for some added tokens, which then are text like any other's tags of reasoning."""
    vocabulary = content["model"]["vocab"]
    for token in content["added_tokens"]:
        if (name := names.get(token["content"])) is not None and name not in vocabulary:
            vocabulary[name] = vocabulary.pop(token["content"])
            token |= {"content": name, "special": False}
    return json.dumps(content, ensure_ascii=False)


# --- the protocol buffer --------------------------------------------------------------------------------------------


def _piece(value: _Value) -> tuple[str, float, int]:
    """A piece, its score and its type."""
    fields = _fields(_bytes(value))
    score = fields.get(2, [bytes(4)])[-1]
    (number,) = struct.unpack("<f", _bytes(score))
    return _bytes(fields.get(1, [b""])[-1]).decode(), number, _number(fields, 3, _NORMAL)


def _fields(message: bytes) -> dict[int, list[_Value]]:
    """The values of a message by the numbers of their fields. ValueError where it is none."""
    found: dict[int, list[_Value]] = {}
    for number, value in _walk(message):
        found.setdefault(number, []).append(value)
    return found


def _walk(message: bytes) -> Iterator[tuple[int, _Value]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise ValueError("a field of an unknown kind")
        if at + size > len(message):
            raise ValueError("a field that is longer than its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = 0
    for place in range(10):
        byte = message[at + place] if at + place < len(message) else None
        if byte is None:
            break
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number without an end")


def _bytes(value: _Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where there should be bytes")
    return value


def _number(fields: Mapping[int, list[_Value]], number: int, absent: int) -> int:
    value = fields.get(number, [absent])[-1]
    if not isinstance(value, int):
        raise ValueError("bytes where there should be a number")
    return value
