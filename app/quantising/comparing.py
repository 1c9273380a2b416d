"""How alike a model and its quantised form go on: one after the other reads the same short text of ours.

Both are loaded whole, the original first; where memory has no room for that, it is said instead. It knows nothing of
how either was made.
"""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from app.library.fit import fit
from app.library.machine import this_machine
from app.quantising import Compared, Comparison, Uncompared
from app.words import size
from model import LanguageModel, ModelError, load
from model.config import Config, parse_config
from model.tokenizer import Turn
from model.tokenizer_files import has_tokenizer
from model.weights.blinkdl import read_fields
from model.weights.safetensors import shards

Progress = Callable[[int, int], None]
"""Called with bytes read, and bytes to read."""

QUESTION = "How does an electric kettle know when to switch itself off?"
ANSWER = """\
It does not measure the temperature of the water at all; it waits for steam. When the water boils, steam rises and is \
led through a narrow channel, down inside the handle, to a small round disc. That disc is made of two metals, bonded \
together, which expand by different amounts as they warm:

1. At first the disc is curved one way and holds the switch closed.
2. At about 95 °C the metal that expands more wins, and the disc snaps over to the other side.
3. As it snaps it pushes a little lever, and the circuit is open: 2,000 watts become none.

That is why a kettle whose lid was left open boils on and on. The steam escapes into the kitchen instead, and the disc \
never becomes warm. „Schließ den Deckel“, my grandmother would have said: close the lid.
"""
"""Prose, a list, numbers, a few words of another language: of all that, a little."""
_MOST = 256
"""Tokens of the answer that are foretold."""
_ROWS = 32
"""Places whose probabilities are compared together: one of a large vocabulary takes megabytes in the making."""
_COPIES = 3
"""How often the logits of all places are in memory at once: the original's, and another model's in the making."""


def compare(original: Path, quantised: Path, name: str, progress: Progress) -> Comparison:
    """Let both checkpoints foretell the text. Whatever is in the way of that is said, never raised."""
    if not has_tokenizer(quantised):
        return Uncompared(f"{name} has no tokenizer.json to read a text with: not compared.")
    weights = [sum(path.stat().st_size for path in shards(folder)) for folder in (original, quantised)]
    total = sum(weights)
    config = _config(original)
    needed = fit(weights[0], config, this_machine(), _MOST).need.total
    needed += _COPIES * _MOST * (config.vocab_size if config else 0) * 4
    if needed > (free := this_machine().available):
        return Uncompared(f"{name} itself takes {size(needed)} of memory and {size(free)} are free: not compared.")
    try:
        original_model = load(original, progress=lambda stage, done, _: progress(done, total))
        prompt, answer = _text(original_model)
        if not answer:
            return Uncompared(f"{name} holds too few tokens to be compared by a text.")
        exact = _logits(original_model, prompt, answer)
        del original_model
        mx.clear_cache()
        quantised_model = load(quantised, progress=lambda stage, done, _: progress(weights[0] + done, total))
        return alike(exact, _logits(quantised_model, prompt, answer))
    except ModelError as error:
        return Uncompared(f"Not compared: {error}")


def alike(exact: mx.array, packed: mx.array) -> Compared:
    """Compare two models' logits (places, vocabulary) at the same places."""
    same, divergence = 0, 0.0
    for start in range(0, exact.shape[0], _ROWS):
        ours, theirs = exact[start : start + _ROWS], packed[start : start + _ROWS]
        same += int(np.count_nonzero(np.asarray(mx.argmax(ours, axis=1) == mx.argmax(theirs, axis=1))))
        wanted, given = (logits - mx.logsumexp(logits, axis=1, keepdims=True) for logits in (ours, theirs))
        terms = mx.where(wanted > -mx.inf, mx.exp(wanted) * (wanted - given), 0)  # what is never said adds nothing
        divergence += float(np.asarray(terms.sum(axis=1)).sum())
    return Compared(exact.shape[0], same / exact.shape[0], max(0.0, divergence / exact.shape[0]))


def _text(model: LanguageModel) -> tuple[list[int], list[int]]:
    """What is read, and what is foretold behind it: an answer in the model's own template, else plain text."""
    try:
        opening = model.opening([Turn("user", QUESTION), Turn("assistant", ANSWER)])
        prompt, answer = opening.prompt, opening.begun
    except ModelError:
        plain = model.tokenizer.encode_plain(f"{QUESTION}\n\n{ANSWER}")
        prompt, answer = plain[:1], plain[1:]
    return prompt, answer[: max(0, min(_MOST, model.traits.context - len(prompt)))]


def _logits(model: LanguageModel, prompt: list[int], answer: list[int]) -> mx.array:
    """The logits of each token of the answer (tokens, vocabulary), evaluated."""
    tokens = mx.array([*prompt, *answer[:-1]])
    logits = model.logits(tokens)[len(prompt) - 1 :, : model.traits.vocabulary]
    mx.eval(logits)
    return logits


def _config(folder: Path) -> Config | None:
    try:
        return parse_config(read_fields(folder), folder.name)
    except ModelError:
        return None
