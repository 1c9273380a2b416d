"""One token at a time is computed another way than many, and gives the same: joined, compiled, or neither."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import model
from model.choices import Choices
from model.layers.joined import joined
from tests.checkpoints import random_checkpoint

PLAIN = Choices(chunk=64, joined=False, compiled=False)
JOINED = replace(PLAIN, joined=True)
FAST = replace(JOINED, compiled=True)
PROMPT = [index * 7 % 96 for index in range(21)]
ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "untied, one query head a key": {"tie_word_embeddings": False, "num_key_value_heads": 4},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "windows": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "yarn": {"rope_scaling": ROPE},
    "qwen3 with yarn": {"model_type": "qwen3", "head_dim": 16, "rope_scaling": ROPE},
    "pangu_pi": {"model_type": "pangu_pi", "shortcut_reduction": 4},
    "pangu_pi with projections": {"model_type": "pangu_pi", "num_shortcuts": 0, "series_shape": "projection"},
    "openPangu": {"model_type": "PanguEmbedded"},
    "rwkv7": {"model_type": "rwkv7", "head_dim": 8},
    "rwkv4": {"model_type": "rwkv"},
}


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX would call a C++ compiler for the CPU; what is compiled is tried where a GPU is, as it is here."""
    monkeypatch.setattr(mx, "compile", lambda function, **_: function)


def steps(folder: Path, choices: Choices, **options: Any) -> tuple[list[int], np.ndarray]:
    """The tokens of an answer and the logits of each of its steps."""
    session = model.load(folder, choices=choices).session(**options)
    logits = [session.prefill(PROMPT)]
    for _ in range(20):
        logits.append(session.step(mx.argmax(logits[-1])))
    return session.tokens, np.array(mx.stack(logits))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_way_gives_the_same_answer(shape: dict[str, Any], tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model", **shape)
    tokens, logits = steps(folder, PLAIN)
    for choices in (FAST, replace(JOINED, joint=False, unpack=4), replace(PLAIN, compiled=True)):
        others, found = steps(folder, choices)
        assert others == tokens
        assert np.abs(found - logits).max() < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"quantisation": model.KVQuantisation(bits=8, group_size=32, start=24)},
        {"context": 16, "rolling": True},
    ],
    ids=["quantised", "rolling"],
)
def test_also_over_caches_that_people_choose(options: dict[str, Any], tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "model", hidden_size=128)
    if "context" in options:
        options = {**options, "context": 24}
    tokens, logits = steps(folder, PLAIN, **options)
    others, found = steps(folder, FAST, **options)
    assert others == tokens
    assert np.abs(found - logits).max() < 1e-4


def test_a_step_gives_what_the_definition_gives(tmp_path: Path) -> None:
    loaded = model.load(random_checkpoint(tmp_path / "model"), choices=FAST)
    tokens, logits = steps(tmp_path / "model", FAST)
    whole = np.array(loaded.logits(mx.array(tokens)))[len(PROMPT) - 1 :]
    assert np.abs(logits[: len(whole)] - whole).max() < 1e-3


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_maps_that_are_joined_give_what_each_gives(bits: int | None) -> None:
    maps: list[nn.Module] = [nn.Linear(64, outputs) for outputs in (64, 32, 96)]
    if bits:
        maps = [nn.QuantizedLinear.from_linear(each, 32, bits) for each in maps]
    whole = joined(maps)
    assert whole is not None
    x = mx.random.normal((1, 3, 64))
    assert mx.allclose(whole(x), mx.concatenate([each(x) for each in maps], axis=-1), atol=1e-5)


def test_maps_of_different_kinds_stay_apart() -> None:
    plain = nn.Linear(64, 32)
    others: list[nn.Module] = [
        nn.Linear(64, 32, bias=False),
        nn.Linear(32, 32),
        nn.QuantizedLinear.from_linear(plain, 32, 4),
    ]
    assert [joined([plain, other]) for other in others] == [None] * 3
    four, eight = (nn.QuantizedLinear.from_linear(plain, 32, bits) for bits in (4, 8))
    assert joined([four, eight]) is None
    assert joined([four, nn.QuantizedLinear.from_linear(plain, 64, 4)]) is None


def test_a_model_of_mixed_kinds_answers_all_the_same(tmp_path: Path) -> None:
    """Some published quantisations keep the values' maps in more bits than the queries'."""
    loaded = model.load(random_checkpoint(tmp_path / "model", hidden_size=64, intermediate_size=64), choices=PLAIN)
    for layer in loaded.network.model.layers:
        layer.self_attn.v_proj = nn.QuantizedLinear.from_linear(layer.self_attn.v_proj, 32, 8)
        layer.mlp.up_proj = nn.QuantizedLinear.from_linear(layer.mlp.up_proj, 32, 8)
    before = np.array(loaded.logits(mx.array(PROMPT)))
    loaded.network.arrange(FAST)
    assert np.abs(np.array(loaded.logits(mx.array(PROMPT))) - before).max() < 1e-4
    session = loaded.session()
    session.prefill(PROMPT[:-1])
    assert np.abs(np.array(session.step(mx.array(PROMPT[-1]))) - before[-1]).max() < 1e-4
