"""A checkpoint that loads in no time and speaks without end, in letters that the window itself never shows.

What of it stands on a screen can be told from everything else there, and found again in what was stored.
"""

import re
from pathlib import Path

import mlx.core as mx

from tests.checkpoints import speaking_checkpoint

LETTERS = "BDGHJKLMNQRSVWXZ"
_SPACE = 220
"""The token of the space, as `speaking_checkpoint` numbers bytes."""
_SHARPNESS = 15.0
"""So far above all others do the letters' logits spread that nothing else is sampled."""
_ROOM = 2**20
"""Tokens: a quarter of an hour at a thousand a second, so that a slow machine's windows find it still writing."""
_ROW = re.compile(rf"[ ]*[{LETTERS}]+[{LETTERS} ]*")


def babbling_checkpoint(folder: Path) -> Path:
    """A random checkpoint whose every token is one of LETTERS or a space, and whose context no test fills."""
    speaking_checkpoint(folder, tie_word_embeddings=False, max_position_embeddings=_ROOM)
    file = str(folder / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    head = weights["lm_head.weight"]
    spoken = mx.array([ord(letter) - 33 for letter in LETTERS] + [_SPACE])
    weights["lm_head.weight"] = mx.zeros_like(head).at[spoken].add(head[spoken] * _SHARPNESS)
    mx.save_safetensors(file, weights)
    return folder


def letters(text: str) -> str:
    """`text` without white space: what wrapping and Markdown leave alone."""
    return "".join(text.split())


def babble_on(screen: str) -> list[str]:
    """What a babbling model's answers have on `screen`: each run of rows that hold nothing else, as letters."""
    runs, run = [], ""
    for row in [*screen.splitlines(), "."]:
        if _ROW.fullmatch(row):
            run += letters(row)
        elif run:
            runs.append(run)
            run = ""
    return runs
