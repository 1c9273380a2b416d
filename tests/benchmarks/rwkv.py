"""RWKV-7 beside mlx-lm on the same MLX and the same checkpoint: `python -m tests.benchmarks.rwkv [SHAPE...]`.

Weights are random, of published shapes or smaller ones, in 4 bit but for their low-rank parts, and each opens the
checkpoint as it does: on a CPU ours unpacks it, mlx-lm computes as stored. `--bits 0` stores them as `--dtype`. Both
have the fast BLAS. Prompts are read and answers written in turns, greedily, timed by our clock and the processor's;
ours is held against mlx-lm's logits first. The BLAS has to be there before MLX, so nothing of it is imported above.
"""

import argparse
import importlib.metadata
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from app.engine.blas import load_fast_blas

SHAPES: dict[str, tuple[int, int, int, tuple[int, int, int, int]]] = {
    "tiny": (4, 256, 1024, (32, 32, 16, 64)),
    "small": (12, 512, 8192, (64, 64, 32, 128)),
    "0.1B": (12, 768, 65536, (64, 64, 32, 128)),
    "0.4B": (24, 1024, 65536, (64, 64, 32, 128)),
    "1.5B": (24, 2048, 65536, (96, 96, 64, 256)),
    "7.2B": (32, 4096, 65536, (128, 128, 96, 480)),
}
"""Layers, hidden size, vocabulary, and the ranks of decay, rate, value and gate; heads are 64 wide."""


class Run(NamedTuple):
    """Seconds until the first token and from there to the last, by the clock and of the processor."""

    read: float
    wrote: float
    read_cpu: float
    wrote_cpu: float


def configuration(shape: str) -> dict[str, Any]:
    layers, hidden, vocabulary, (decay, rate, value, gate) = SHAPES[shape]
    return {
        "model_type": "rwkv7",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
        "head_dim": 64,
        "norm_eps": 1e-5,
        "decay_low_rank_dim": decay,
        "a_low_rank_dim": rate,
        "v_low_rank_dim": value,
        "gate_low_rank_dim": gate,
        "tie_word_embeddings": False,
    }


def checkpoint(shape: str, folder: Path, dtype: str, bits: int) -> Path:
    """Random weights such that states neither vanish nor grow: norms near 1, mixes and rates between 0 and 1."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from model import quantise
    from model.config import parse_config
    from model.rwkv7 import Model

    def weight(path: str, parameter: mx.array) -> mx.array:
        part = path.rpartition(".")[2]
        if "norm" in path:
            return mx.random.normal(parameter.shape, scale=0.1) + (1.0 if part == "weight" else 0.0)
        if part.startswith("x_") or part in ("k_k", "k_a"):
            return mx.random.uniform(shape=parameter.shape)
        return mx.random.normal(
            parameter.shape, scale=0.3 if part in ("bias", "r_k") else float(parameter.shape[-1]) ** -0.5
        )

    mx.random.seed(0)
    parameters = tree_flatten(Model(parse_config(configuration(shape), shape)).parameters())
    plain = folder / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps(configuration(shape)))
    stored = {path: weight(path, parameter).astype(getattr(mx, dtype)) for path, parameter in parameters}
    mx.save_safetensors(str(plain / "model.safetensors"), stored)
    return quantise(plain, folder / "packed", bits=bits) if bits else plain


def read_and_write(
    step: Callable[[Any], Any], start: Callable[[list[int]], Any], prompt: list[int], answer: int
) -> Run:
    """A greedy answer, each step queued before the token of the one before it is looked at."""
    import mlx.core as mx

    began, cpu_began = time.perf_counter(), time.process_time()
    token = mx.argmax(start(prompt))
    mx.async_eval(token)
    marks: list[tuple[float, float]] = []
    while len(marks) < answer:
        following = mx.argmax(step(token))
        mx.async_eval(following)
        token.item()
        marks.append((time.perf_counter(), time.process_time()))
        token = following
    (first, first_cpu), (last, last_cpu) = marks[0], marks[-1]
    return Run(first - began, last - first, first_cpu - cpu_began, last_cpu - first_cpu)


def run_theirs(module: Any, prompt: list[int], answer: int) -> Run:
    """Prompts in mlx-lm's own pieces of 2,048 tokens."""
    import mlx.core as mx

    caches = module.make_cache()

    def start(prompt: list[int]) -> Any:
        for at in range(0, len(prompt), 2048):
            logits = module(mx.array([prompt[at : at + 2048]]), caches)[0, -1]
            mx.eval([cache.state for cache in caches])
        return logits

    return read_and_write(lambda token: module(token.reshape(1, 1), caches)[0, -1], start, prompt, answer)


def run_ours(loaded: Any, chunk: int, prompt: list[int], answer: int) -> Run:
    session = loaded.session()
    session.options = replace(session.options, chunk=chunk)
    return read_and_write(session.step, session.prefill, prompt, answer)


def told(name: str, length: int, answer: int, runs: list[Run]) -> str:
    median = Run(*(statistics.median(column) for column in zip(*runs, strict=True)))
    return (
        f"{name:>16}: prefill {length / median.read:>9,.0f} tok/s, {1e3 * median.read_cpu / length:8.3f} ms CPU a token"
        f"; decode {(answer - 1) / median.wrote:>7,.1f} tok/s, {1e3 * median.wrote_cpu / (answer - 1):8.3f} ms CPU"
    )


def main() -> None:
    print("BLAS:", load_fast_blas())
    import mlx.core as mx
    from mlx_lm.utils import load_model

    import model

    gpu = mx.default_device().type == mx.DeviceType.gpu
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=["0.4B" if gpu else "small"], help=", ".join(SHAPES))
    parser.add_argument("--prompts", default="512" if gpu else "128,512", help="tokens, with commas between")
    parser.add_argument("--longest", type=int, default=512, help="tokens of a prompt up to which mlx-lm reads it too")
    parser.add_argument("--answer", type=int, default=128 if gpu else 32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunks", default="", help="that ours is to read in beside the one it chooses")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    given = parser.parse_args()
    print(
        f"MLX {importlib.metadata.version('mlx')} on {mx.default_device()}, {mx.device_info().get('device_name', '')}"
    )
    for shape in given.shapes:
        with tempfile.TemporaryDirectory() as folder:
            path = checkpoint(shape, Path(folder), given.dtype, given.bits)
            ours, theirs = model.load(path), load_model(path)[0]
            mx.eval(theirs.parameters())
        prompt = [index * 7919 % SHAPES[shape][2] for index in range(max(map(int, given.prompts.split(","))))]
        tokens = mx.array([prompt[:64]])
        expected = theirs(tokens, theirs.make_cache()).astype(mx.float32)
        print(f"{shape}: logits up to {mx.abs(expected).max().item():.2f} differ by at most "
              f"{mx.abs(ours.logits(tokens) - expected).max().item():.1e}")  # fmt: skip
        chunks = [ours.traits.choices.chunk, *(int(chunk) for chunk in given.chunks.split(",") if chunk)]
        runs: dict[str, Callable[[list[int], int], Run]] = {"mlx-lm": partial(run_theirs, theirs)}
        runs |= {f"ours, by {chunk}": partial(run_ours, ours, chunk) for chunk in chunks}
        for length in map(int, given.prompts.split(",")):
            taken: dict[str, list[Run]] = {name: [] for name in runs if name != "mlx-lm" or length <= given.longest}
            for attempt in range(given.rounds + 1):
                for name, results in taken.items():
                    result = runs[name](prompt[:length], given.answer)
                    if attempt:  # the first round warms up
                        results.append(result)
            print(f"{shape} behind {length} tokens, medians of {given.rounds} rounds")
            for name, results in taken.items():
                print(told(name, length, given.answer, results), flush=True)


if __name__ == "__main__":
    main()
