"""The small files around a tokenizer, read as untrusted data. ModelError names the file; no file is no error.

It knows what the files of a checkpoint folder are called, and nothing of ids and text.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model.errors import ModelError, one_line
from model.template import ChatTemplate

LIBRARY = "tokenizer.json"
WORLD = "rwkv_vocab_v20230424.txt"
"""The vocabulary of RWKV's World models."""
WORLD_ROWS = 65_530
"""Tokens of it; GPT-NeoX's, by which the models before them were trained, has fewer."""
RWKV = frozenset({"rwkv", "rwkv7"})
"""Model types."""
SENTENCEPIECE = "tokenizer.model"
"""The same vocabulary as in tokenizer.json, where there is none, as sentencepiece has it."""


def has_tokenizer(folder: Path) -> bool:
    """Whether one of the files that `model.tokenizer.Tokenizer` is made of is there."""
    return any((folder / name).exists() for name in (LIBRARY, WORLD, SENTENCEPIECE))


def is_world(folder: Path, fields: Mapping[str, object]) -> bool:
    """Whether the ids of a checkpoint are those of the World vocabulary; `fields` is what config.json says.

    Where there is another vocabulary beside it, it is that of RWKV's models with rows enough for it.
    """
    if not (folder / WORLD).exists() or not (folder / LIBRARY).exists():
        return (folder / WORLD).exists()
    rows = fields.get("vocab_size")
    return fields.get("model_type") in RWKV and not (isinstance(rows, int) and rows < WORLD_ROWS)


def read_table(path: Path) -> dict[str, Any]:
    """The table in a small JSON file; an empty one where there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        detail = one_line(str(error))
        raise ModelError(f"{path.parent.name}: {path.name} is damaged ({detail}); download it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path.parent.name}: {path.name} is damaged (no table); download it again")
    return content


def read_file(path: Path) -> str:
    if not path.is_file():
        raise ModelError(f"{path} is not a file; put the checkpoint's own file there")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path.parent.name}: {path.name} is damaged (no text); download it again") from None


def read_template(folder: Path, config: dict[str, Any]) -> ChatTemplate | None:
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        path = folder / name
        if name.endswith(".jinja"):
            source: Any = read_file(path) if path.exists() else None
        else:
            source = (config if name == "tokenizer_config.json" else read_table(path)).get("chat_template")
        if isinstance(source, list):  # several, by name
            named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
            source = named.get("default") or next(iter(named.values()), None)
        if isinstance(source, str):
            return ChatTemplate(source, f"{folder.name}: the chat template in {name}")
    return None


def named_tokens(config: Mapping[str, Any]) -> dict[str, object]:
    """What templates may ask for by name: every "..._token", and the list of those without one."""
    extra = config.get("extra_special_tokens")
    named = {**config, **(extra if isinstance(extra, dict) else {})}
    tokens: dict[str, object] = {
        name: token
        for name, value in named.items()
        if name.endswith("_token") and (token := token_text(value)) is not None
    }
    others = config.get("additional_special_tokens")
    if isinstance(others, list):
        tokens["additional_special_tokens"] = [token for value in others if (token := token_text(value)) is not None]
    return tokens


def token_text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def ids_in(value: Any) -> Iterator[int]:
    for id in value if isinstance(value, list) else [value]:
        if isinstance(id, int) and not isinstance(id, bool) and id >= 0:
            yield id
