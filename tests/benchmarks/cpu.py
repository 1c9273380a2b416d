"""What a token costs MLX's CPU back end, taken apart: `python -m tests.benchmarks.cpu [ROUNDS]`.

The shapes are the starter's: attention in its forms, and products with one row and with a chunk, whole and as they are
chosen. The ways alternate, and what is printed are medians. Time of the processor stands beside time by the clock: it
says the same where others use the machine too. The BLAS has to be there before MLX, so nothing of it is imported above.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from app.engine.blas import load_fast_blas

HEADS, KV_HEADS, HEAD_DIM, LAYERS, CHUNK = 9, 3, 64, 30, 64
MATRICES = {"q, o": (576, 576), "k, v": (192, 576), "gate, up": (1536, 576), "down": (576, 1536), "head": (49152, 576)}
ENOUGH = 64 * 1024 * 1024
"""Bytes of matrices that are gone through in turn, more than a cache holds."""


def compared(ways: Mapping[str, Callable[[], Any]], times: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each by the clock and of the processor, done so many times; the first round warms up."""
    import mlx.core as mx

    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            mx.eval([way() for _ in range(times)])
            taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        name: (statistics.median(clock for clock, _ in runs[1:]), statistics.median(spent for _, spent in runs[1:]))
        for name, runs in taken.items()
    }


def attention(rounds: int) -> None:
    import mlx.core as mx

    from model.layers.attention import attend

    print("\nattention, ms a token in all layers, by the clock (of the processor)")
    for keys in (128, 512, 3000):
        for length in (1, CHUNK):
            k, v = (mx.random.normal((1, KV_HEADS, keys, HEAD_DIM)) for _ in range(2))
            q = mx.random.normal((1, HEADS, length, HEAD_DIM))
            mx.eval(q, k, v)
            mask = "causal" if length > 1 else None
            times = 40 if length == 1 else 4
            taken = compared(
                {form: partial(attend, q, k, v, mask, form) for form in ("fused", "grouped")}, times, rounds
            )
            scale = 1e3 * LAYERS / length / times
            cells = (f"{form} {clock * scale:6.2f} ({spent * scale:.2f})" for form, (clock, spent) in taken.items())
            print(f"{keys:>6} keys {length:>4} queries   {'   '.join(cells)}")


def matrices(rounds: int) -> None:
    import mlx.core as mx

    from model.layers.products import times

    def whole(x: mx.array, weights: list[mx.array]) -> list[mx.array]:
        return [x @ weight.T for weight in weights]

    def chosen(x: mx.array, weights: list[mx.array]) -> list[mx.array]:
        return [times(x, weight) for weight in weights]

    print("\nproducts, by the clock (of the processor): one row, GB of matrices a second; a chunk, GFLOP a second")
    for name, (rows, width) in MATRICES.items():
        weights = [mx.random.normal((rows, width)) for _ in range(max(1, ENOUGH // (rows * width * 4)))]
        one, many = mx.random.normal((1, 1, width)), mx.random.normal((1, CHUNK, width))
        mx.eval(one, many, weights)
        few = weights[: max(1, len(weights) // 8)]
        ways = {
            "whole": partial(whole, one, weights),
            "chosen": partial(chosen, one, weights),
            "chunk": partial(chosen, many, few),
        }
        moved, work = len(weights) * rows * width * 4e-9, len(few) * rows * width * CHUNK * 2e-9
        done = {"whole": moved, "chosen": moved, "chunk": work}
        cells = (
            f"{way} {done[way] / clock:6.1f} ({done[way] / spent:.1f})"
            for way, (clock, spent) in compared(ways, 1, rounds).items()
        )
        print(f"{name:>9} {rows:>6} x {width:<5} {'   '.join(cells)}")


def main(rounds: int) -> None:
    blas = load_fast_blas() or "the BLAS that MLX brings"
    import mlx.core as mx

    print(f"MLX {mx.__version__} on {mx.default_device()}, {blas}")
    attention(rounds)
    matrices(rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
