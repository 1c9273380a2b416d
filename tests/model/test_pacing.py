"""Waiting between layers changes when things are computed, not what."""

import mlx.core as mx
import pytest

from model.allocation import LAYERS_AT_ONCE
from model.layers.pacing import Pace


def layers(count: int, pace: Pace) -> tuple[mx.array, list[mx.array]]:
    """What so many layers give out, and each state between them."""
    x = mx.ones((1, 64, 8))
    states = []
    for _ in range(count):
        x = pace(x * 1.5 + 1)
        states.append(x)
    return x, states


@pytest.mark.parametrize("count", [1, LAYERS_AT_ONCE, 7])
def test_the_states_are_the_same(count: int) -> None:
    waited, _ = layers(count, Pace(64, gpu=True))
    plain, _ = layers(count, Pace(64, gpu=False))
    assert mx.array_equal(waited, plain)


@pytest.mark.parametrize(("length", "gpu", "waits"), [(64, True, True), (1, True, False), (64, False, False)])
def test_only_a_gpu_that_reads_a_prompt_is_waited_for(
    length: int, gpu: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[mx.array] = []
    monkeypatch.setattr(mx, "async_eval", queued.append)
    _, states = layers(3 * LAYERS_AT_ONCE, Pace(length, gpu=gpu))
    assert [any(one is state for one in queued) for state in states] == (
        [(place + 1) % LAYERS_AT_ONCE == 0 for place in range(len(states))] if waits else [False] * len(states)
    )


@pytest.mark.parametrize(("length", "first"), [(64, True), (1, False)])
def test_what_a_layer_leaves_behind_comes_before_what_it_gives_out(length: int, first: bool) -> None:
    mx.clear_cache()
    before, left = mx.get_active_memory(), mx.zeros((1 << 18,)) + 1
    mx.eval(Pace(length, gpu=False)(mx.zeros((1, length, 8)) + 1, left))
    assert (mx.get_active_memory() - before >= left.nbytes) == first
