"""Caches are exact: whatever was appended and taken back, a layer sees what the definition of its window says."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.cache import FullCache, KVQuantisation, RotatingCache, key_values, rewind
from model.layers.attention import causal_mask

HEADS, DIM = 2, 4


def row(position: int, version: int = 0) -> np.ndarray:
    """Keys that tell which position they stand for, and which of several tries at it."""
    return np.full((1, HEADS, 1, DIM), position + version / 1000, np.float32)


def rows(positions: list[float]) -> mx.array:
    return mx.array(np.concatenate([row(0) + position for position in positions], axis=2))


def put(cache: FullCache | RotatingCache, keys: mx.array, values: mx.array, joint: bool):
    """Append as our own blocks do, or as mlx-lm's."""
    return cache.append(mx.concatenate([keys, values], axis=1)) if joint else cache.update_and_fetch(keys, values)


def seen(keys: mx.array, mask: mx.array | str | None, queries: int) -> list[list[float]]:
    """For each new query the keys that it may look at, oldest first."""
    values = np.array(keys)[0, 0, :, 0]
    if mask is None or isinstance(mask, str):
        allowed = np.tril(np.ones((queries, len(values)), bool), len(values) - queries)
        if mask is None:
            assert queries == 1
    else:
        allowed = np.array(mask)
    return [[round(float(value), 3) for value in values[row]] for row in allowed]


@given(
    window=st.integers(1, 9),
    slack=st.integers(1, 7),
    sinks=st.sampled_from([0, 0, 1, 4]),
    joint=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["append", "append", "trim", "mark", "return"]), st.integers(1, 12)), max_size=25
    ),
)
def test_a_rotating_cache_shows_exactly_the_window(window, slack, sinks, joint, steps):
    cache = RotatingCache(window, slack, sinks)
    history: list[float] = []
    marks = []
    highest = 0
    for version, (step, count) in enumerate(steps):
        if step == "append":
            new = [len(history) + index + version / 1000 for index in range(count)]
            mask = cache.make_mask(count)
            keys, values = put(cache, rows(new), rows(new) + 0.5, joint)
            assert mx.array_equal(keys + 0.5, values)
            history += new
            expected = [
                [
                    round(value, 3)
                    for position, value in enumerate(history[:end])
                    if position >= end - window or position < sinks
                ]
                for end in range(len(history) - count + 1, len(history) + 1)
            ]
            assert seen(keys, mask, count) == expected
            highest = max(highest, len(history))
        elif step == "trim":
            exact = cache.rewindable
            assert cache.trim(count) == (count if count <= exact else 0)
            if count <= exact:
                del history[len(history) - count :]
        elif step == "mark":
            marks.append((cache.snapshot(), list(history)))
        elif marks:
            snapshot, history = marks[count % len(marks)]
            history = list(history)
            assert cache.restore(snapshot)
        assert cache.offset == len(history)


@given(window=st.integers(1, 9), slack=st.integers(1, 7), steps=st.lists(st.integers(1, 12), max_size=25))
def test_the_slack_can_be_taken_back(window, slack, steps):
    cache = RotatingCache(window, slack)
    for step in steps:
        new = list(range(cache.offset, cache.offset + step))
        cache.update_and_fetch(rows(new), rows(new))
        assert cache.rewindable >= min(slack, cache.offset)


@given(steps=st.lists(st.integers(-400, 400).filter(bool), max_size=12), joint=st.booleans(), split=st.booleans())
def test_a_full_cache_keeps_everything_that_was_not_taken_back(steps, joint, split):
    """Also where its buffer becomes one each for keys and values on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_values, "JOINT_BYTES", 512 * 2 * HEADS * DIM * 4 if split else 1 << 30)
        keeps_everything(FullCache(), steps, joint)


def keeps_everything(cache: FullCache, steps: list[int], joint: bool) -> None:
    history: list[float] = []
    for version, step in enumerate(steps):
        if step > 0:
            new = [len(history) + index + version / 1000 for index in range(step)]
            keys, values = put(cache, rows(new), rows(new) + 0.5, joint)
            history += new
            assert np.allclose(np.array(keys)[0, :, :, 0], history)
            assert mx.array_equal(keys + 0.5, values)
        else:
            assert cache.trim(-step) == (-step if -step <= len(history) else 0)
            if -step <= len(history):
                del history[len(history) + step :]
        assert cache.offset == len(history)


def test_memory_is_bounded_by_window_slack_and_chunk():
    window, slack, chunk = 16, 8, 32
    cache = RotatingCache(window, slack)
    for start in range(0, 4096, chunk):
        cache.update_and_fetch(rows(list(range(start, start + chunk))), rows(list(range(start, start + chunk))))
    for position in range(4096, 4300):
        cache.update_and_fetch(rows([position]), rows([position]))
    bytes_a_position = 2 * HEADS * DIM * 4
    assert cache.nbytes <= (window + slack + chunk) * bytes_a_position


def test_layers_are_rewound_together_or_not_at_all():
    full, rotating = FullCache(), RotatingCache(window=4, slack=2)
    for position in range(40):
        for cache in (full, rotating):
            cache.update_and_fetch(rows([position]), rows([position]))
    assert not rewind([full, rotating], rotating.rewindable + 1)
    assert full.offset == rotating.offset == 40
    assert rewind([full, rotating], rotating.rewindable)
    assert full.offset == rotating.offset < 40


@pytest.mark.parametrize("window", [None, 1, 3, 10, 64])
def test_a_window_holds_the_query_itself_and_those_before_it(window):
    mask = causal_mask(10, 10, window)
    allowed = np.tril(np.ones((10, 10), bool)) if isinstance(mask, str) else np.array(mask)
    for query in range(10):
        visible = [key for key in range(10) if key <= query and (window is None or key > query - window)]
        assert np.flatnonzero(allowed[query]).tolist() == visible


@pytest.mark.parametrize("quantisation", [None, KVQuantisation(bits=8, group_size=32, start=30)])
@pytest.mark.parametrize("window", [1, 5])
@pytest.mark.parametrize("joint", [True, False])
def test_a_cache_that_was_dumped_goes_on_as_the_one_it_was(window, quantisation, joint):
    """Also where everything that a window of one holds was taken back, so that no row is left to tell where it is."""

    def wide(positions: range) -> mx.array:
        return mx.repeat(rows(list(positions)), 8, axis=3) / 7

    caches = [RotatingCache(window, 3, quantisation=quantisation) for _ in range(2)]
    for start in range(0, 20, 2):
        put(caches[0], wide(range(start, start + 2)), wide(range(start, start + 2)), joint)
    caches[0].trim(caches[0].rewindable)
    numbers, arrays = caches[0].dump()
    caches[1].load(numbers, arrays)
    for position in range(caches[0].offset, 50):
        seen_rows = []
        for cache in caches:
            keys, _ = put(cache, wide(range(position, position + 1)), wide(range(position, position + 1)), joint)
            seen_rows.append(keys if isinstance(keys, mx.array) else keys.block(0, keys.shape[2]))
        assert mx.array_equal(*seen_rows)


def test_a_snapshot_holds_its_own_memory_and_tells_how_much():
    cache = RotatingCache(window=8, slack=64, sinks=2)
    for start in range(0, 600, 100):
        cache.update_and_fetch(rows(list(range(start, start + 100))), rows(list(range(start, start + 100))))
    mx.eval(cache.state)
    held = mx.get_active_memory()
    snapshot = cache.snapshot()
    assert snapshot.nbytes == 2 * (8 - 1 + 2) * HEADS * DIM * 4
    assert mx.get_active_memory() - held <= snapshot.nbytes + 256
    size = cache.nbytes
    del cache
    assert held - mx.get_active_memory() >= size - snapshot.nbytes - 256
