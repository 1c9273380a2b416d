"""Whether a running conversation is read once: `python -m tests.benchmarks.prefix [SIZE]`.

The time to the first token of a turn of 50 tokens in a conversation of 8,000, beside the same 50 tokens on caches that
hold the 8,000 already, without any of what a session does, and beside a prompt of 50 tokens alone. The three alternate,
and each time something else is said, so that nothing of it is known. SIZE is a shape of `tests.benchmarks.speed`, with
random 4-bit weights, for a GPU; "small" is a random model that reads 8,000 tokens in no time; without it, it is the
starter. It needs MLX, mlx-lm, numpy and this tree.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model import Session

HELD, NEW, ROUNDS = 8000, 50, 15
SMALL = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "max_position_embeddings": 16384}
BARS = {"cpu": ("caches that are there", 1.2), "gpu": ("a prompt alone", 1.5)}


def opened(size: str) -> tuple[Any, int, int]:
    """Network, rows of the vocabulary, and tokens that are read at once."""
    from app.library.starter import starter_file
    from app.settings import paths
    from model import load
    from tests.checkpoints import random_checkpoint

    if size not in ("starter", "small"):
        return shaped(size)
    with tempfile.TemporaryDirectory() as folder:
        path = starter_file() if size == "starter" else random_checkpoint(Path(folder) / size, **SMALL)
        assert path is not None, "the starter is not installed"
        loaded = load(path, conversions=paths().conversions)
    return loaded.network, loaded.traits.vocabulary, loaded.traits.choices.chunk


def shaped(size: str) -> tuple[Any, int, int]:
    from model.choices import choices_for
    from model.config import parse_config
    from model.facts import parameters
    from model.weights.precision import this_device
    from tests.benchmarks.speed import configuration, twins

    device, config = this_device(), parse_config(configuration(size), size)
    choices = choices_for(device.gpu, device.architecture, parameters(config).total)
    _, network = twins(size)
    network.arrange(choices)
    return network, config.vocab_size, choices.chunk


def measured(network: Any, vocabulary: int, chunk: int) -> dict[str, float]:
    """Median seconds to the first token, each way."""
    import mlx.core as mx

    from model import Session
    from model.cache import CacheOptions, rewind
    from model.session import SessionOptions

    def session() -> "Session":
        return Session(network, SessionOptions(context=HELD + 2 * NEW, chunk=chunk))

    def tokens(start: int, count: int) -> list[int]:
        return [(start + index) * 7919 % vocabulary for index in range(count)]

    history = tokens(0, HELD)
    running = session()
    running.prefill(history)
    there = network.make_cache(CacheOptions())
    numbers, arrays = running.dump()
    for index, (cache, layer) in enumerate(zip(there, numbers, strict=True)):
        prefix = f"{index}."
        cache.load(layer, {name[len(prefix) :]: part for name, part in arrays.items() if name.startswith(prefix)})
    mx.eval([cache.state for cache in there])

    def turn(said: Sequence[int]) -> float:
        began = time.perf_counter()
        mx.argmax(running.prefill([*history, *said])).item()
        return time.perf_counter() - began

    def on_caches(said: Sequence[int]) -> float:
        began = time.perf_counter()
        mx.argmax(network(mx.array([said]), there, last=1)[0, -1]).item()
        taken = time.perf_counter() - began
        assert rewind(there, len(said))
        return taken

    def alone(said: Sequence[int]) -> float:
        fresh = session()
        began = time.perf_counter()
        mx.argmax(fresh.prefill(said)).item()
        return time.perf_counter() - began

    ways: dict[str, Callable[[Sequence[int]], float]] = {
        "a turn": turn,
        "caches that are there": on_caches,
        "a prompt alone": alone,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, ROUNDS):
        for name, way in ways.items():
            seconds = way(tokens(HELD + 1 + NEW * number, NEW))
            if number >= 0:  # the first round warms up
                taken[name].append(seconds)
    return {name: median(seconds) for name, seconds in taken.items()}


def main(sizes: Sequence[str]) -> None:
    import mlx.core as mx

    print(f"MLX {mx.__version__} on {mx.default_device()}; {NEW} tokens behind {HELD:,}, {ROUNDS} rounds")
    beside, bar = BARS["gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"]
    for size in sizes or ("starter",):
        found = measured(*opened(size))
        for name, seconds in found.items():
            print(f"{size:>8}  {name:<22} {seconds * 1e3:>9.2f} ms  {found['a turn'] / seconds:>6.2f}")
        ratio = found["a turn"] / found[beside]
        print(f"{size:>8}  {'met' if ratio <= bar else 'missed'}: {ratio:.2f} of {beside}, {bar} allowed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
