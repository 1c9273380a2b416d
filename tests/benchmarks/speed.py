"""Prefill and decode beside mlx-lm on the same MLX and the same weights: `python -m tests.benchmarks.speed [SIZE...]`.

Weights are random, 4-bit in groups of 64, of Qwen2's published shapes; answers are greedy. The two alternate, and both
are timed by our clock: prefill until the first token is there, decode over the intervals between tokens. Ours is first
held against mlx-lm: it is given mlx-lm's own tokens, and must choose the same wherever mlx-lm's choice is clear.
"""

import argparse
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from model import Sampling
from model.cache import CacheOptions
from model.choices import Choices, choices_for
from model.config import parse_config
from model.facts import parameters
from model.generation import Generation
from model.registry import OURS
from model.session import Session, SessionOptions
from model.weights.precision import this_device

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 2, "hidden": 256, "heads": 4, "kv": 2, "inner": 512, "vocab": 1024, "tied": True},
    "0.5B": {"layers": 24, "hidden": 896, "heads": 14, "kv": 2, "inner": 4864, "vocab": 151936, "tied": True},
    "1.5B": {"layers": 28, "hidden": 1536, "heads": 12, "kv": 2, "inner": 8960, "vocab": 151936, "tied": True},
    "7B": {"layers": 28, "hidden": 3584, "heads": 28, "kv": 4, "inner": 18944, "vocab": 152064, "tied": False},
}
PROMPTS = (512, 4096)
ANSWER = 256
CLEAR = 0.125
"""By how much the best logit must lead for the choice to be clear: by as much bfloat16 itself is off."""


def configuration(size: str) -> dict[str, Any]:
    shape = SHAPES[size]
    return {
        "model_type": "qwen2",
        "num_hidden_layers": shape["layers"],
        "hidden_size": shape["hidden"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"],
        "intermediate_size": shape["inner"],
        "vocab_size": shape["vocab"],
        "tie_word_embeddings": shape["tied"],
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
    }


def twins(size: str) -> tuple[Any, Any]:
    """mlx-lm's module and our network over the same arrays."""
    from mlx_lm.models.qwen2 import Model, ModelArgs

    fields = configuration(size)
    theirs = Model(ModelArgs.from_dict(fields))
    theirs.set_dtype(mx.bfloat16)
    nn.quantize(theirs, group_size=64, bits=4)
    mx.eval(theirs.parameters())
    ours = OURS["qwen2"](parse_config(fields, size))
    nn.quantize(ours, group_size=64, bits=4)
    ours.load_weights(tree_flatten(theirs.parameters()))
    return theirs, ours


def chosen(size: str) -> Choices:
    """What the rule knows for this device."""
    device = this_device()
    return choices_for(device.gpu, device.architecture, parameters(parse_config(configuration(size), size)).total)


def a_session(network: Any, size: str, context: int = 32768) -> Session:
    choices = chosen(size)
    return Session(network, SessionOptions(context, choices.chunk, CacheOptions()))


def differing(theirs: Any, ours: Any, size: str, prompt: list[int]) -> tuple[int, int, float]:
    """Clear choices of mlx-lm's, how many of them ours makes otherwise, and the largest difference of a logit."""
    from mlx_lm.models.cache import make_prompt_cache

    caches, session = make_prompt_cache(theirs), a_session(ours, size)
    expected = theirs(mx.array([prompt]), cache=caches)[0, -1]
    found = session.prefill(prompt)
    clear = other = 0
    largest = 0.0
    for _ in range(ANSWER // 4):
        expected, found = expected.astype(mx.float32), found.astype(mx.float32)
        second, first = mx.sort(expected)[-2:].tolist()
        token = mx.argmax(expected)
        if first - second > CLEAR:
            clear += 1
            other += int(mx.argmax(found).item() != token.item())
        largest = max(largest, float(mx.abs(expected - found).max().item()))
        expected = theirs(token.reshape(1, 1), cache=caches)[0, -1]
        found = session.step(token)
    return clear, other, largest


def run_theirs(module: Any, prompt: list[int]) -> tuple[float, float]:
    """Seconds until the first token, and from there to the last."""
    from mlx_lm.generate import generate_step

    started = time.perf_counter()
    times = [time.perf_counter() for _ in generate_step(mx.array(prompt), module, max_tokens=ANSWER)]
    return times[0] - started, times[-1] - times[0]


def run_ours(network: Any, size: str, prompt: list[int]) -> tuple[float, float]:
    session, vocabulary = a_session(network, size), SHAPES[size]["vocab"]
    generation = Generation(session, prompt, Sampling(temperature=0), vocabulary=vocabulary, max_tokens=ANSWER)
    for _ in generation:
        pass
    return generation.first_token_seconds, generation.decode_seconds


def main(sizes: list[str], rounds: int) -> None:
    name = mx.device_info().get("device_name", "")
    print(f"MLX {importlib.metadata.version('mlx')} on {mx.default_device()}, {name}, medians of {rounds} rounds")
    print(f"{'model':>5} {'prompt':>6}   {'prefill tok/s: mlx-lm':>22} {'ours':>9} {'ratio':>6}"
          f"   {'decode tok/s: mlx-lm':>21} {'ours':>7} {'ratio':>6}")  # fmt: skip
    for size in sizes:
        theirs, ours = twins(size)
        ours.arrange(chosen(size))
        vocabulary = SHAPES[size]["vocab"]
        runs: dict[str, Callable[[list[int]], tuple[float, float]]] = {
            "theirs": lambda prompt, module=theirs: run_theirs(module, prompt),
            "ours": lambda prompt, network=ours, size=size: run_ours(network, size, prompt),
        }
        for length in PROMPTS:
            prompt = [index * 7919 % vocabulary for index in range(length)]
            clear, other, largest = differing(theirs, ours, size, prompt)
            print(f"{size}: of {clear} clear choices {other} are others, logits differ by at most {largest:.4f}")
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
            for attempt in range(rounds + 1):
                for name, run in runs.items():
                    result = run(prompt)
                    if attempt:  # the first round warms up
                        taken[name].append(result)
            prefill = {name: length / statistics.median(first for first, _ in taken[name]) for name in runs}
            decode = {name: (ANSWER - 1) / statistics.median(rest for _, rest in taken[name]) for name in runs}
            print(
                f"{size:>5} {length:>6}   {prefill['theirs']:>22,.0f} {prefill['ours']:>9,.0f}"
                f" {prefill['ours'] / prefill['theirs']:>6.2f}   {decode['theirs']:>21,.1f} {decode['ours']:>7,.1f}"
                f" {decode['ours'] / decode['theirs']:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["0.5B"], help=", ".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=7, help="a small model's need to be many where its host is noisy")
    given = parser.parse_args()
    main(given.sizes, given.rounds)
