"""Memory holds its bounds, and takes what was foretold, by MLX's own counters."""

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest

import model
from model import memory
from model.cache.rows import QuantisedRows, RowsView
from model.layers import wkv7
from model.layers.attention import blocked
from model.memory import CPU, CUDA
from model.session import SessionOptions
from tests.benchmarks.fit import SHAPES, back_end_of, foretold, measure
from tests.checkpoints import random_checkpoint

LENGTH, WINDOW, LAYERS, CHUNK = 16_384, 256, 5, 256
KV_BYTES = 2 * 1 * 32 * 4
"""Of one position in one layer: keys and values of one head of 32 numbers, float32."""


def prefilled(folder: Path, sliding_layers: int, length: int = LENGTH) -> tuple[model.Session, int, int]:
    """A session that has read a long prompt; what MLX holds for it, and held at most, beyond the weights, in bytes."""
    loaded = model.load(
        random_checkpoint(
            folder,
            num_hidden_layers=LAYERS,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=length + 1,
            use_sliding_window=True,
            sliding_window=WINDOW,
            max_window_layers=LAYERS - sliding_layers,
        )
    )
    session = loaded.session_with(SessionOptions(length + 1, CHUNK))
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    session.prefill([index % 96 for index in range(length)])
    return session, mx.get_active_memory() - before, mx.get_peak_memory() - before


@pytest.mark.soak
def test_a_long_prefill_of_a_hybrid_model_holds_its_bound(tmp_path):
    session, held, peak = prefilled(tmp_path / "hybrid", sliding_layers=LAYERS - 1)
    sliding = (LAYERS - 1) * (WINDOW + 2 * session.options.caches.slack + CHUNK) * KV_BYTES
    full = LENGTH * 9 // 8 * KV_BYTES  # buffers grow by an eighth
    marks = sum(mark.nbytes for mark in session.marks)
    assert session.nbytes - marks <= full + sliding
    assert held <= session.nbytes + 64 * 1024
    # While a buffer grows, the old one is still there; beside it one chunk's scores over all keys, twice.
    scores = 2 * CHUNK * LENGTH * 4
    caches = 2 * full + 2 * sliding + marks
    assert peak <= caches + scores
    assert caches < LAYERS * LENGTH * KV_BYTES, "else windows would save nothing that this could see"


def test_windows_save_what_they_promise(tmp_path):
    hybrid, *_ = prefilled(tmp_path / "hybrid", sliding_layers=LAYERS, length=2560)
    full, *_ = prefilled(tmp_path / "full", sliding_layers=0, length=2560)
    assert hybrid.nbytes < full.nbytes / 2


def most_in_blocks(keys: int) -> int:
    """Bytes that blocked attention of 32 queries over so many quantised keys holds at most."""
    rows = mx.zeros((1, 2, keys, 64))
    buffer = QuantisedRows.like(rows, model.KVQuantisation(), 0).moved(0, 0, keys)
    buffer.write(0, rows)
    view = RowsView(buffer, slice(None), 0, keys)
    queries = mx.zeros((1, 4, 32, 64))
    mx.eval(buffer.state, queries)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(blocked(queries, view, view, "causal"))
    return mx.get_peak_memory() - before


def test_blocked_attention_never_holds_a_whole_row_of_scores():
    assert most_in_blocks(16 * 1024) < 1.2 * most_in_blocks(4 * 1024)


@pytest.mark.soak
@pytest.mark.parametrize("name", SHAPES)
def test_a_conversation_takes_what_was_foretold(name):
    measured = measure(name)
    told = foretold(SHAPES[name], back_end_of(measured))
    assert told.total == pytest.approx(measured.peak, rel=0.1)
    assert told.weights == pytest.approx(measured.weights, rel=0.01)
    assert told.kv + told.state == pytest.approx(measured.held, rel=0.02)


def test_a_state_is_foretold_by_the_chunks_in_which_it_is_made():
    assert memory._SCANNED == wkv7.CHUNK


def test_without_attention_a_longer_conversation_takes_no_more():
    for name in ("RWKV-4", "RWKV-7"):
        for back_end in (CUDA, CPU):
            short, long = (foretold(replace(SHAPES[name], context=context), back_end) for context in (10, 1 << 20))
            assert short == long and long.kv == 0 and long.state > 0


def test_a_gpu_computes_with_weights_as_they_are_stored():
    for shape in SHAPES.values():
        gpu, cpu = (foretold(shape, back_end) for back_end in (CUDA, CPU))
        assert gpu.weights <= 0.51 * cpu.weights
        assert gpu.kv <= cpu.kv and gpu.state <= cpu.state and gpu.workspace > 0
