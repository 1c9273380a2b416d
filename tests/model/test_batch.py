"""Rows of a batch are what they would be alone: padded in `logits`, side by side in `answers`."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model
from model import ModelError, Sampling
from model.batch import answers
from tests.checkpoints import random_checkpoint

SHAPES = {
    "qwen2": {},
    "qwen2, hybrid": {
        "use_sliding_window": True,
        "sliding_window": 4,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 8},
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
    "pangu_pi": {"model_type": "pangu_pi", "shortcut_reduction": 4},
    "rwkv4": {"model_type": "rwkv"},
    "rwkv7": {"model_type": "rwkv7", "head_dim": 8},
}
MODELS: dict[str, model.LanguageModel] = {}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    for name, changes in SHAPES.items():
        MODELS[name] = model.load(random_checkpoint(tmp_path_factory.mktemp("batch") / "model", **changes))


@settings(max_examples=60)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    rows=st.lists(st.lists(st.integers(0, 95), min_size=1, max_size=14), min_size=1, max_size=4),
    extra=st.integers(0, 3),
    left=st.booleans(),
)
def test_each_padded_row_equals_its_own_unpadded_run(shape, rows, extra, left):
    length = max(map(len, rows)) + extra
    padded, mask = [], []
    for row in rows:
        padding = [7] * (length - len(row))
        padded.append(padding + row if left else row + padding)
        mask.append([0] * len(padding) + [1] * len(row) if left else [1] * len(row) + [0] * len(padding))
    logits = np.array(MODELS[shape].logits(mx.array(padded), mx.array(mask)))
    for row, result, real in zip(rows, logits, np.array(mask, bool), strict=True):
        alone = np.array(MODELS[shape].logits(mx.array(row)))
        assert np.abs(result[real] - alone).max() < 1e-4
        assert (result[~real] == 0).all()


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_answers_side_by_side_are_what_each_would_be_alone(shape):
    language_model, prompt = MODELS[shape], [index * 5 % 96 for index in range(30)]
    together = answers(language_model, prompt, 3, Sampling(temperature=0.8, seed=4), max_tokens=20)
    for row, ids in enumerate(together):
        alone = language_model.generate(prompt, Sampling(temperature=0.8, seed=4 + row), max_tokens=20)
        assert ids == [token.id for token in alone]
    assert together[0] != together[1]


@pytest.mark.parametrize(
    ("prompt", "count", "most"), [([], 2, 5), ([1], 0, 5), ([1], 2, 0), ([96], 2, 5), ([-1], 2, 5)]
)
def test_answers_to_nothing_are_refused(prompt, count, most):
    with pytest.raises(ModelError) as raised:
        answers(MODELS["qwen2"], prompt, count, Sampling(), most)
    assert raised.value.kind == "request"


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ModelError, match="one number a token"):
        MODELS["qwen2"].logits(mx.array([[1, 2, 3]]), mx.array([[1, 1]]))


def test_answers_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="do not fit"):
        answers(MODELS["qwen2"], list(range(90)), 2, Sampling(), max_tokens=200)
