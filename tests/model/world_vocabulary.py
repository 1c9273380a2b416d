"""The real vocabulary of RWKV's World models, from the PyPI package rwkv, and a little one of the same kind."""

from collections.abc import Sequence
from importlib.metadata import files
from pathlib import Path

from model.tokenizer_files import WORLD
from tests.checkpoints import recite


def world_file() -> Path:
    """Found without importing the package, which wants PyTorch."""
    (found,) = (entry for entry in files("rwkv") or () if entry.name == WORLD)
    return Path(str(found.locate()))


WORDS = (b"\n\n", b"User", b"Assistant", b"System", b" Hi", b" there")
SMALL = {**{bytes([byte]): byte + 1 for byte in range(256)}, **{word: 261 + n for n, word in enumerate(WORDS)}}
"""Single bytes, at 1 to 256, and a few words from 261 on, where the published vocabulary has its empty line too."""


def small_world(folder: Path) -> Path:
    """Write the little vocabulary into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WORLD).write_text("".join(f"{id} {token!r} {len(token)}\n" for token, id in SMALL.items()))
    return folder


GREETING = (b":", b" Hi", b" there", b"!", b"\n\n", b"User", b":")
"""What a model says to "User: ...": Hi there!, and then the person's part."""


def reciting_world(folder: Path, tokens: Sequence[bytes] = GREETING) -> Path:
    """A checkpoint of the little vocabulary that says `tokens` each time it comes to the first of them."""
    return recite(small_world(folder), [SMALL[token] for token in tokens], max(SMALL.values()) + 1, 0)
