"""What becomes of a trained network: a checkpoint, packed to 4 bits, looked at, and a card that tells all of it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

import model
from model.language_model import LanguageModel
from model.tokenizer import Turn
from tests.training.corpus import Rows, write_tokenizer
from tests.training.subjects import SUBJECTS

RUN = "training_run"
"""The file beside an unpacked checkpoint that tells, as JSON, how it was trained; packing does not take it along."""
_AT_ONCE = 8
"""Rows that are looked at together."""
_LONGEST = 128
"""Tokens of an answer, so that a conversation of those below fits into every context."""
_ASKED = (
    ("Hello!", "My name is Ada.", "When do I sow carrots?", "And how deep?", "And peas?", "What is my name?"),
    ("What should I do in May?", "It is raining. What now?", "What do you think about football?"),
    ("Tell me a story about a hedgehog.", "What was the hedgehog called?"),
)
"""Conversations that a card shows."""


@dataclass(frozen=True)
class Run:
    """How a training went."""

    seed: int
    steps: int
    tokens: int
    seconds: float
    trained_on: str
    """The device, and MLX's version."""


@dataclass(frozen=True)
class Seen:
    """On conversations that were held back: the loss in nats, and the share of tokens that were the most likely."""

    loss: float
    right: float

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, {self.right:.1%} of tokens right"


def loss_of(logits: mx.array, wanted: mx.array, counts: mx.array) -> mx.array:
    """Cross entropy of `wanted` (rows, length) in nats, where it counts."""
    losses = nn.losses.cross_entropy(logits, wanted)
    return (losses * counts).sum() / counts.sum()


def write_result(whole: Path, folder: Path, held_back: Rows, run: Run) -> str:
    """Write the model of the checkpoint `whole` in 4 bits, with its card, to the new `folder`; how it does, in one
    line."""
    first = model.load(whole)
    before = seen(first.logits, held_back)
    # Small models lose more by packing than large ones: what matters most gets two bits more.
    model.quantise(whole, folder, bits=4, recipe="mixed", name=folder.name)
    packed = model.load(folder)
    assert isinstance(packed, LanguageModel)
    after = seen(packed.logits, held_back)
    size = sum(path.stat().st_size for path in folder.iterdir())
    fields = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    talks = [_talk(packed, asked) for asked in _ASKED]
    card = _card(folder.name, fields, run, first.traits.parameters, size, before, after, talks)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return f"{before}; packed into {size / 1e6:.1f} MB: {after}"


def parameters_of(network: nn.Module) -> dict[str, mx.array]:
    """All numbers of a network, by name."""
    return dict(tree_flatten(network.parameters()))


def write_checkpoint(folder: Path, fields: dict[str, Any], network: nn.Module, tokenizer: Tokenizer, run: Run) -> None:
    """The files of a checkpoint, its weights in bfloat16 but for those that a network keeps in float32, and its run."""
    castable: Callable[[str], bool] = getattr(network, "cast_predicate", lambda path: True)
    weights = {
        path: weight.astype(mx.bfloat16) if castable(path) else weight
        for path, weight in parameters_of(network).items()
    }
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(json.dumps(asdict(run)) + "\n", encoding="utf-8")
    write_tokenizer(tokenizer, folder)


def seen(logits: Callable[[mx.array], mx.array], rows: Rows) -> Seen:
    """How well `logits` of ids (rows, length) foretell the rows."""
    loss = right = total = 0.0
    for ids, counts in _batches(rows):
        found, wanted = logits(ids[:, :-1]), ids[:, 1:]
        hits = ((mx.argmax(found, axis=-1) == wanted) * counts).sum()
        lost, count = loss_of(found, wanted, counts), counts.sum()
        mx.eval(hits, lost, count)
        loss += value_of(lost) * value_of(count)
        right += value_of(hits)
        total += value_of(count)
    return Seen(loss / total, right / total)


def value_of(scalar: mx.array) -> float:
    """A scalar's value, waited for."""
    (found,) = np.asarray(scalar).reshape(1).tolist()
    return float(found)


def _batches(rows: Rows) -> Iterator[tuple[mx.array, mx.array]]:
    for first in range(0, len(rows.ids), _AT_ONCE):
        ids, counts = rows.ids[first : first + _AT_ONCE], rows.counts[first : first + _AT_ONCE]
        yield mx.array(ids.astype("int32")), mx.array(counts.astype("float32"))


def _talk(packed: LanguageModel, asked: Sequence[str]) -> list[tuple[str, str]]:
    """Each question with the most likely answer."""
    turns: list[Turn] = []
    for question in asked:
        turns.append(Turn("user", question))
        answer = "".join(token.text for token in packed.generate(packed.prompt(turns), max_tokens=_LONGEST))
        turns.append(Turn("assistant", answer))
    return [(one.content, other.content) for one, other in zip(turns[::2], turns[1::2], strict=True)]


def _card(
    name: str,
    fields: Mapping[str, Any],
    run: Run,
    parameters: int,
    size: int,
    before: Seen,
    after: Seen,
    talks: Sequence[Sequence[tuple[str, str]]],
) -> str:
    """The README.md of a model."""
    shape = f"{fields['num_hidden_layers']} layers, {fields['hidden_size']} wide, {parameters:,} parameters"
    took = f"{run.seconds:.0f} s on {run.trained_on}"
    rows = {
        "architecture": f"{fields['model_type']}: {shape}, a vocabulary of {fields['vocab_size']:,}",
        "stored": f"{size / 1e6:.1f} MB: 4 bits a weight in groups of 64, 6 where it matters most",
        "trained": f"seed {run.seed}, {run.steps:,} steps, {run.tokens:,} tokens, {took}",
        "on conversations held back": before,
        "the same, packed": after,
        "licence": "Apache-2.0, and so is the text that it was trained on: all of it was written for this",
    }
    table = "\n".join(f"| {what} | {told} |" for what, told in rows.items())
    shown = "\n\n".join("\n".join(starmap(_exchange, talk)) for talk in talks)
    return f"""---
license: apache-2.0
language: en
tags:
- mlx
- demonstration
---

# {name}

A demonstration, not an assistant. {SUBJECTS[name].about}

It knows one small kitchen garden: its plants, the months, the weather, who visits it, and stories from it. It was
trained from nothing on conversations that a program makes up (`tests/training` of Quietly), so it knows nothing else,
and what it says about gardening is a toy's word.

| | |
| --- | --- |
{table}

What it answers, greedily:

{shown}
"""


def _exchange(asked: str, answer: str) -> str:
    """Two lines of a quotation; what a model says is no Markdown."""
    return f"> **{asked}**\\\n> {' / '.join(answer.split(chr(10)))}\\"
