"""RWKV-4: what reading many tokens at once gives over one at a time: `python -m tests.benchmarks.rwkv4 [LAYERS]`.

The shape is the published 169M's, with random weights and by default 2 of its 12 layers: each costs the same. First the
WKV alone, by how many neighbours are joined one after the other before the spans are; then whole prompts in chunks and
token by token, and steps of an answer. All alternate; given are medians of CPU time on a CPU, of wall time on a GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import mlx.core as mx
from mlx.utils import tree_map_with_path

from model.cache import CacheOptions
from model.choices import choices_for
from model.config import parse_config
from model.layers import wkv4
from model.registry import OURS
from model.weights.precision import this_device

WIDTH, VOCABULARY, LENGTH = 768, 50277, 512
SPANS = (4, 8, 16, LENGTH)
"""The last is a token loop."""


def random_weight(path: str, parameter: mx.array) -> mx.array:
    """Norms near 1, mixes between 0 and 1, decays of all speeds, maps that keep the variance."""
    part = path.rpartition(".")[2]
    if "time_mix" in path:
        return mx.random.uniform(shape=parameter.shape)
    if part == "time_decay":
        return mx.random.uniform(-6, 1, parameter.shape)
    if parameter.ndim == 1:
        return mx.random.normal(parameter.shape, scale=0.1) + (1.0 if part == "weight" else 0.0)
    return mx.random.normal(parameter.shape, scale=parameter.shape[-1] ** -0.5)


def alternating(runs: dict[str, tuple[Callable[[], object], int]], seconds: float) -> None:
    """Take turns for so long, and print what each run takes for one of its tokens."""
    clock = time.perf_counter if this_device().gpu else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in runs}
    until = time.monotonic() + seconds
    while time.monotonic() < until or not all(len(times) > 1 for times in taken.values()):
        for name, (run, tokens) in runs.items():
            began = clock()
            mx.eval(run())
            taken[name].append((clock() - began) / tokens)
    for name, times in taken.items():
        print(f"{name:<32} {statistics.median(times[1:]) * 1e6:>9,.1f} µs a token, {len(times) - 1} rounds")


def means(length: int) -> dict[str, tuple[Callable[[], object], int]]:
    keys, values = mx.random.normal((1, length, WIDTH), scale=2), mx.random.normal((1, length, WIDTH))
    decay, first = mx.random.uniform(-6, 1, (WIDTH,)), mx.zeros((WIDTH,))
    mx.eval(keys, values, decay)

    def read(span: int) -> object:
        wkv4._SPAN = span
        return wkv4.wkv(keys, values, decay, first, wkv4.nothing_seen(1, WIDTH))

    return {f"WKV of {length}, spans of {span}": (lambda span=span: read(span), length) for span in SPANS}


def prompts(layers: int) -> dict[str, tuple[Callable[[], object], int]]:
    wkv4._SPAN = SPANS[1]
    shape = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": layers, "tie_word_embeddings": False}
    network = OURS["rwkv"](parse_config({"model_type": "rwkv", **shape}, "169M"))
    network.update(tree_map_with_path(random_weight, network.parameters()))
    device = this_device()
    if device.gpu:
        network.set_dtype(mx.bfloat16)
    mx.eval(network.parameters())
    network.arrange(choices_for(device.gpu, device.architecture, 169_000_000, recurrent=True))
    tokens = mx.array([[index * 7919 % VOCABULARY for index in range(LENGTH)]])
    held = network.make_cache(CacheOptions())

    def read(length: int, chunk: int) -> object:
        caches = network.make_cache(CacheOptions())
        for start in range(0, length, chunk):
            logits = network(tokens[:, start : start + chunk], caches, last=1)
            mx.eval([cache.state for cache in caches])
        return logits

    runs = {f"prompt, {chunk} at once": (lambda chunk=chunk: read(LENGTH, chunk), LENGTH) for chunk in (64, LENGTH)}
    runs["prompt, token by token"] = lambda: read(16, 1), 16
    runs["step of an answer, with its head"] = lambda: network(tokens[:, :1], held, last=1), 1
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="?", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="for each of the three")
    given = parser.parse_args()
    mx.random.seed(0)
    for runs in (means(64), means(LENGTH), prompts(given.layers)):
        alternating(runs, given.seconds)


if __name__ == "__main__":
    main()
