"""Whether a window keeps what it promises: `python -m tests.benchmarks.windows [LENGTH...]`.

Bytes of keys and values, and the time for a token, behind conversations of 4,096 to 65,536 tokens: with a sliding
window on every layer, with a rolling context that keeps its first tokens, and, so that one sees what they save, without
either. The model is tiny and random, its window of 1,024. Each length has a conversation of its own, and they take
turns; what counts is the interval between tokens that a quarter are shorter than, since others only make it longer. It
needs MLX, numpy and this tree.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model import LanguageModel, Session

LENGTHS = (4096, 8192, 16384, 32768, 65536)
WITHOUT = 8192
"""Tokens up to which it is done without a window too: reading takes longer and longer."""
WINDOW = 1024
ROUNDS = 16
ANSWER = 24
WARM_UP = 4
"""Tokens of an answer before its intervals count."""
FLAT = 1.1
"""Times that the largest of all lengths may be the smallest."""
_SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1 << 17,
}


def prompt(length: int) -> list[int]:
    return [index * 7919 % 96 for index in range(length)]


def written(language_model: "LanguageModel", session: "Session", length: int) -> list[float]:
    """The intervals between the tokens of one answer behind so many tokens."""
    generation = language_model.generate(prompt(length), max_tokens=ANSWER, session=session)
    moments = [time.perf_counter() for _ in generation]
    return [later - earlier for earlier, later in pairwise(moments[WARM_UP:])]


def measured(language_model: "LanguageModel", lengths: Sequence[int], rolling: bool) -> list[tuple[int, float]]:
    """Bytes of keys and values, points to return to included, and seconds a token, behind each of the lengths."""
    sessions = [language_model.session(WINDOW if rolling else None, rolling=rolling) for _ in lengths]
    intervals: list[list[float]] = [[] for _ in lengths]
    for _ in range(ROUNDS):
        for length, session, taken in zip(lengths, sessions, intervals, strict=True):
            taken += written(language_model, session, length)
    return [(session.nbytes, quantiles(taken, n=4)[0]) for session, taken in zip(sessions, intervals, strict=True)]


def main(arguments: Sequence[str]) -> None:
    import mlx.core as mx

    from model import load
    from tests.checkpoints import random_checkpoint

    lengths = [int(argument) for argument in arguments] or list(LENGTHS)
    print(f"MLX {mx.__version__} on {mx.default_device()}; a window of {WINDOW:,} tokens")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = random_checkpoint(Path(folder) / "tiny", **_SHAPE)
        ways = (
            ("a window on every layer", load(checkpoint, window=WINDOW), False, lengths),
            ("a rolling context", load(checkpoint), True, lengths),
            ("neither", load(checkpoint), False, [length for length in lengths if length <= WITHOUT]),
        )
        for name, language_model, rolling, chosen in ways:
            found = measured(language_model, chosen, rolling)
            print(name)
            for length, (size, seconds) in zip(chosen, found, strict=True):
                print(f"  {length:>7,} tokens  {size / 2**20:>8.2f} MiB  {seconds * 1e3:>8.3f} ms a token", flush=True)
            sizes, times = zip(*found, strict=True)
            worst = max(max(sizes) / min(sizes), max(times) / min(times))
            flat = "flat" if worst <= FLAT else "not flat"
            print(f"  {flat}: the most is {max(sizes) / min(sizes):.2f} and {max(times) / min(times):.2f} of the least")


if __name__ == "__main__":
    main(sys.argv[1:])
