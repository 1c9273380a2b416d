"""A model's tokenizer without the model: its vocabulary, its special tokens, its chat template, and text as tokens.

From a checkpoint folder, a GGUF file's header, what lies beside a .pth file, or a tokenizer.json by itself. It reads no
weights and loads no MLX.
"""

import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from app.chat.text import one_line
from app.errors import QuietlyError
from model.config import parse_config
from model.errors import ModelError

if TYPE_CHECKING:
    from model.tokenizer import Tokenizer

_ROLES = ("bos", "eos", "pad", "unk")


class Piece(msgspec.Struct, frozen=True):
    """One token of a text."""

    id: int
    spelling: bytes
    """What it stands for: not always whole characters."""

    @property
    def text(self) -> str:
        """Its characters; U+FFFD for what is part of one."""
        return self.spelling.decode(errors="replace")


class Control(msgspec.Struct, frozen=True):
    """A token that steers and is no text."""

    id: int
    name: str
    roles: tuple[str, ...]
    """What it is used for, as the files say: "bos", "ends an answer"."""


def open_tokenizer(path: Path, name: str) -> "Tokenizer":
    """The tokenizer of a folder, of a GGUF or .pth file, or of the folder that a .json file is in.

    `name` is what errors call the model. QuietlyError, one sentence, where there is none or it cannot be read.
    """
    from model.tokenizer import Tokenizer
    from model.tokenizer_files import has_tokenizer
    from model.weights.conversions import is_pth

    folder = path.parent if path.suffix == ".json" else path
    if folder.is_dir() and not has_tokenizer(folder):
        raise QuietlyError(f"{one_line(name)} has no tokenizer.json, so nothing can be told of its tokens.")
    try:
        if folder.is_dir():
            return Tokenizer.from_folder(folder)
        return _from_pth(folder, name) if is_pth(folder) else _from_gguf(folder, name)
    except ModelError as error:
        raise QuietlyError(str(error)) from None


def _from_gguf(path: Path, name: str) -> "Tokenizer":
    """The one that its conversion would have, whether the architecture is converted or not."""
    from model.tokenizer import Tokenizer
    from model.weights.conversions import readable
    from model.weights.gguf_header import read
    from model.weights.gguf_settings import settings_of

    header = read(path)
    architecture = header.text("general.architecture") or ""
    rows = len(header.items("tokenizer.ggml.tokens", str))
    context = header.whole(f"{architecture}.context_length") or 0
    shape = {"model_type": architecture, "vocab_size": rows, "max_position_embeddings": context}
    with TemporaryDirectory(prefix="quietly-") as made:
        folder = Path(made) / readable(name)
        folder.mkdir()
        for file, content in settings_of(header, shape).items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return Tokenizer.from_folder(folder)


def _from_pth(path: Path, name: str) -> "Tokenizer":
    """The one that its conversion would have: which of the files beside it that is, its shape tells."""
    from model.tokenizer import Tokenizer
    from model.weights.blinkdl import fields_of, vocabulary_beside, vocabulary_name
    from model.weights.conversions import readable
    from model.weights.pth import read

    fields = fields_of(read(path), path.stem)
    vocabulary = vocabulary_beside(path, parse_config(fields, name).vocab_size)
    with TemporaryDirectory(prefix="quietly-") as made:
        folder = Path(made) / readable(name)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
        (folder / vocabulary_name(vocabulary)).symlink_to(vocabulary.resolve())
        return Tokenizer.from_folder(folder)


def controls(tokenizer: "Tokenizer") -> tuple[Control, ...]:
    """Every token that steers, by its id, with what the checkpoint uses it for."""
    roles: defaultdict[int, list[str]] = defaultdict(list)
    for role in _ROLES:
        id = getattr(tokenizer, f"{role}_id")
        if id is not None:
            roles[id].append(role)
    for id in sorted(tokenizer.eos_ids):
        roles[id].append("ends an answer")
    return tuple(Control(id, name, tuple(roles[id])) for id, name in tokenizer.controls.items())


def spell(tokenizer: "Tokenizer", text: str) -> tuple[Piece, ...]:
    """The tokens of what a person types: never one that steers, whatever it says."""
    return tuple(Piece(id, tokenizer.bytes_of(id)) for id in tokenizer.encode_plain(text))


def spell_word(tokenizer: "Tokenizer", word: str) -> tuple[Piece, ...]:
    """A word as it stands inside a sentence, behind a space, or by itself where that takes fewer tokens."""
    inside, alone = (spell(tokenizer, f"{space}{word.strip()}") for space in (" ", ""))
    return alone if len(alone) < len(inside) else inside


def split_words(typed: str) -> tuple[str, ...]:
    """The words of a list with commas between them."""
    return tuple(word for part in typed.split(",") if (word := part.strip()))
