"""A long prefill of a hybrid model holds its memory bound, by MLX's own counters."""

from dataclasses import replace

import mlx.core as mx

import model
from tests.checkpoints import random_checkpoint

LENGTH, WINDOW, LAYERS = 16_384, 256, 4
KV_BYTES = 2 * 1 * 32 * 4
"""Of one position in one layer: keys and values of one head of 32 numbers, float32."""


def prefilled(folder, sliding_layers: int, length: int = LENGTH) -> tuple[model.Session, int]:
    """A session that has read a long prompt, and the peak of what MLX held for it beyond the weights, in bytes."""
    loaded = model.load(
        random_checkpoint(
            folder,
            num_hidden_layers=LAYERS,
            hidden_size=64,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=length + 1,
            use_sliding_window=True,
            sliding_window=WINDOW,
            max_window_layers=LAYERS - sliding_layers,
        )
    )
    session = loaded.session()
    session.options = replace(session.options, chunk=512)
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    session.prefill([index % 96 for index in range(length)])
    return session, mx.get_peak_memory() - before


def test_a_long_prefill_of_a_hybrid_model_holds_its_bound(tmp_path):
    session, peak = prefilled(tmp_path / "hybrid", sliding_layers=LAYERS - 1)
    options = session.options
    sliding = (WINDOW + 2 * options.caches.slack + options.chunk) * KV_BYTES
    full = LENGTH * 3 // 2 * KV_BYTES  # buffers grow by half
    for cache in session._caches[1:]:
        assert cache.nbytes <= sliding
    assert session._caches[0].nbytes <= full
    # While a buffer grows, the old one is still there; and one chunk's scores over all keys, for both heads.
    workspace = 2 * full + 4 * options.chunk * LENGTH * 2 * 4
    marks = options.snapshots * (LAYERS - 1) * WINDOW * KV_BYTES
    assert peak <= full + (LAYERS - 1) * 2 * sliding + workspace + marks


def test_windows_save_what_they_promise(tmp_path):
    hybrid, _ = prefilled(tmp_path / "hybrid", sliding_layers=LAYERS, length=4096)
    full, _ = prefilled(tmp_path / "full", sliding_layers=0, length=4096)
    kept = sum(cache.nbytes for cache in hybrid._caches)
    assert kept < sum(cache.nbytes for cache in full._caches) / 3
