"""Trains the demonstration models: `python -m tests.training.train [NAME...] --out FOLDER [--seed S] [--minutes M]`.

Text, vocabulary and the order of everything come from the seed; float32 throughout. The number of steps is fixed, and
cut only where the minutes would not do, which is said. Each model is then packed to 4 bits into FOLDER/NAME, with a
card that tells how it came about; with `--whole` it stays as it was trained, and `python -m tests.training.pack` does
the rest elsewhere: MLX takes minutes to compile a GPU's kernels for packed weights, which nothing here needs.
"""

import argparse
import importlib.metadata
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from tokenizers import Tokenizer

from model.config import parse_config
from model.layers.pacing import unpaced
from model.registry import OURS
from tests.training.corpus import Batch, Rows, control_ids, rows_of, tokenizer_for, tokens_of
from tests.training.pack import packed, whole_name
from tests.training.results import Run, loss_of, parameters_of, value_of, write_checkpoint
from tests.training.subjects import SUBJECTS, Subject

Weights = dict[str, mx.array]

_DOCUMENTS = 40_000
_AFTERWARDS = 12.0
"""Seconds that are kept back for packing and looking at a model."""
_BETAS, _EPS, _DECAY = (0.9, 0.95), 1e-8, 0.1
_WARM_UP, _LAST_RATE = 100, 0.02
"""Steps that the learning rate rises for, and the share of it that is left at the end."""
_LARGEST_GRADIENT = 1.0
_SAID_EVERY = 5.0
"""Seconds."""
_FIRST_ONES, _LOOKED_AFTER = 10, 25
"""Steps that are not timed, and after how many the time that is left is looked at."""


class Trainer:
    """One network and its optimiser: AdamW (Loshchilov and Hutter 2017, algorithm 2), gradients clipped by norm."""

    def __init__(self, subject: Subject, network: nn.Module) -> None:
        self._network = network
        self._peak = subject.rate
        self.weights: Weights = dict(tree_flatten(network.trainable_parameters()))
        self._first = {path: mx.zeros_like(weight) for path, weight in self.weights.items()}
        self._second = {path: mx.zeros_like(weight) for path, weight in self.weights.items()}
        gpu = mx.default_device().type == mx.DeviceType.gpu
        self._step: Callable[..., Any] = mx.compile(self._stepped) if gpu else self._stepped

    def step(self, batch: Batch, number: int, steps: int) -> mx.array:
        """Learn from a batch as the `number`th of so many steps; the loss before it, not evaluated yet."""
        factors = mx.array([
            rate_at(number, steps, self._peak),
            1 / (1 - _BETAS[0] ** (number + 1)),
            1 / (1 - _BETAS[1] ** (number + 1)),
        ])  # fmt: skip
        moments = self.weights, self._first, self._second
        with unpaced():
            (self.weights, self._first, self._second), loss = self._step(moments, factors, *map(mx.array, batch))
        mx.async_eval(self.weights, self._first, self._second, loss)
        result: mx.array = loss
        return result

    def finish(self) -> None:
        """Give the network the weights as they are now."""
        self._network.update(tree_unflatten(list(self.weights.items())))

    def _stepped(
        self, moments: tuple[Weights, Weights, Weights], factors: mx.array, ids: mx.array, counts: mx.array
    ) -> tuple[tuple[Weights, Weights, Weights], mx.array]:
        weights, first, second = moments
        rate, of_first, of_second = factors

        def loss_with(weights: Weights) -> mx.array:
            self._network.update(tree_unflatten(list(weights.items())))
            return loss_of(self._network(ids[:, :-1]), ids[:, 1:], counts)

        loss, gradients = mx.value_and_grad(loss_with)(weights)
        norm = mx.sqrt(mx.stack([mx.square(gradient).sum() for gradient in gradients.values()]).sum())
        clip = mx.minimum(1.0, _LARGEST_GRADIENT / (norm + 1e-6))
        moved: tuple[Weights, Weights, Weights] = {}, {}, {}
        for path, weight in weights.items():
            gradient = gradients[path] * clip
            one = _BETAS[0] * first[path] + (1 - _BETAS[0]) * gradient
            two = _BETAS[1] * second[path] + (1 - _BETAS[1]) * mx.square(gradient)
            kept = weight * (1 - rate * _DECAY) if path.endswith(".weight") and weight.ndim == 2 else weight
            step = rate * (one * of_first) / (mx.sqrt(two * of_second) + _EPS)
            for whole, part in zip(moved, (kept - step, one, two), strict=True):
                whole[path] = part
        return moved, loss


def rate_at(number: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up in a line, then down along a cosine (Loshchilov and Hutter 2016)."""
    cosine = (1 + math.cos(math.pi * min(1.0, number / steps))) / 2
    return peak * min(1.0, (number + 1) / _WARM_UP) * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


def train(
    subject: Subject, network: nn.Module, rows: Rows, seed: int, steps: int, until: float, say: Callable[[str], None]
) -> Run:
    """Learn in so many steps, or as many as end by `until` on `time.monotonic`'s clock; progress goes to `say`.

    ArithmeticError where the loss is no number any more.
    """
    trainer = Trainer(subject, network)
    batches = rows.batches(subject.batch, seed)
    begun = time.monotonic()
    pace = _Pace(begun)
    losses: list[float] = []
    waiting: list[mx.array] = []
    number = 0
    while number < steps:
        waiting.append(trainer.step(next(batches), number, steps))
        number += 1
        while len(waiting) > (2 if number < steps else 0):  # the device is never more than two steps behind
            losses.append(_sound(value_of(waiting.pop(0))))
        now = time.monotonic()
        pace.reached(number, now)
        if number % _LOOKED_AFTER == 0 and (fitting := pace.reach(until)) < steps:
            say(f"{fitting:,.0f} steps instead of {steps:,}: more do not fit into the time")
            steps = max(number, int(fitting))
        if losses and (pace.is_time_to_say(now) or number == steps):
            speed = subject.batch * subject.length / pace.each
            say(f"step {number:,} of {steps:,}, loss {sum(losses) / len(losses):.4f}, {speed:,.0f} tokens/s")
            losses = []
    trainer.finish()
    device = mx.device_info().get("device_name", str(mx.default_device()))
    trained_on = f"{device}, MLX {importlib.metadata.version('mlx')}"
    return Run(seed, number, number * subject.batch * subject.length, time.monotonic() - begun, trained_on)


class _Pace:
    """How fast the steps follow each other, the first ones apart: these compile."""

    def __init__(self, begun: float) -> None:
        self._since = self._now = (0, begun)
        self._said = begun

    def reached(self, number: int, now: float) -> None:
        self._now = number, now
        if number == _FIRST_ONES:
            self._since = self._now

    @property
    def each(self) -> float:
        """Seconds a step."""
        (first, since), (number, now) = self._since, self._now
        return max(now - since, 1e-6) / max(1, number - first)

    def reach(self, until: float) -> float:
        """The step that it will be at by then."""
        number, now = self._now
        return number + max(0.0, (until - now) / self.each)

    def is_time_to_say(self, now: float) -> bool:
        due = now - self._said > _SAID_EVERY
        if due:
            self._said = now
        return due


def _sound(loss: float) -> float:
    if not math.isfinite(loss):
        raise ArithmeticError("the loss is no number any more; a lower learning rate may help")
    return loss


def new_network(subject: Subject, tokenizer: Tokenizer, seed: int) -> tuple[dict[str, Any], nn.Module]:
    """The config.json of a subject, and its network as it begins."""
    mx.random.seed(seed)
    fields = {**subject.fields, **control_ids(tokenizer), "dtype": "bfloat16"}
    network = OURS[fields["model_type"]](parse_config(fields, "demonstration"))
    subject.begin(network)
    mx.eval(network.parameters())
    return fields, network


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration models.")
    parser.add_argument("names", nargs="*", choices=[[], *SUBJECTS], metavar="NAME", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets a folder for each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="for all of them; steps are cut to fit")
    parser.add_argument("--steps", type=int, help="of each, in place of its own number")
    parser.add_argument("--whole", action="store_true", help="do not pack: `tests.training.pack` will")
    parser.add_argument("--documents", type=int, default=_DOCUMENTS, help="to learn from")
    asked = parser.parse_args(arguments)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", flush=True)

    names = asked.names or list(SUBJECTS)
    tokenizer = tokenizer_for(asked.seed)
    texts = tokens_of(tokenizer, asked.seed, asked.documents)
    say(f"{len(texts):,} documents of {sum(map(len, texts)):,} tokens")
    asked.out.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        subject = SUBJECTS[name]
        share = (begun + asked.minutes * 60 - time.monotonic()) / (len(names) - place)
        until = time.monotonic() + share - _AFTERWARDS
        fields, network = new_network(subject, tokenizer, asked.seed)
        rows = rows_of(tokenizer, texts, subject.length)
        say(f"{name}: {sum(weight.size for weight in parameters_of(network).values()):,} parameters")
        steps = asked.steps or subject.steps
        try:
            run = train(
                subject, network, rows, asked.seed, steps, until, lambda line, name=name: say(f"{name}: {line}")
            )
        except ArithmeticError as error:
            say(f"{name}: {error}")
            continue  # with the others
        write_checkpoint(asked.out / whole_name(name), fields, network, tokenizer, run)
        del network, rows
        mx.clear_cache()
        if not asked.whole:
            say(f"{name}: {packed(asked.out, name)}")
            shutil.rmtree(asked.out / whole_name(name))


if __name__ == "__main__":
    main()
