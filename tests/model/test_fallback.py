"""What mlx-lm implements runs here as it runs there: the same logits, the same greedy answers, and exact sessions."""

import importlib
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

import model
from model import LanguageModel, ModelError
from model.generation import Generation
from tests.checkpoints import write_checkpoint
from tests.model.guessing import GREEDY, guessing

VOCABULARY = 96
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, "model_type": "llama", "rope_theta": 10000.0, "tie_word_embeddings": True},
    "qwen3": {
        **SHAPE,
        "model_type": "qwen3",
        "head_dim": 16,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    "gemma3": {
        **SHAPE,
        "model_type": "gemma3_text",
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 7,
        "sliding_window_pattern": 2,
        "rope_theta": 10000.0,
    },
    "qwen2_moe": {
        **SHAPE,
        "model_type": "qwen2_moe",
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 32,
        "rope_theta": 10000.0,
    },
    "mamba": {
        "model_type": "mamba",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "state_size": 8,
        "num_hidden_layers": 2,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
        "tie_word_embeddings": True,
    },
}
OURS = {"llama", "qwen3"}


def foreign_checkpoint(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """Random weights in the shapes that mlx-lm's own module asks for."""
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    module = architecture.Model(architecture.ModelArgs.from_dict(config))
    random = np.random.RandomState(seed)
    weights = {}
    for name, parameter in tree_flatten(module.parameters()):
        values = np.array(parameter) if "A_log" in name or name.endswith(".D") else None
        if values is None:
            offset = 1.0 if "norm" in name and "gemma" not in config["model_type"] else 0.0
            values = offset + 0.25 * random.standard_normal(parameter.shape)
        weights[name] = mx.array(values.astype(np.float32))
    return write_checkpoint(folder, config, weights)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def both(request, tmp_path_factory) -> tuple[str, LanguageModel, Any]:
    """The same checkpoint through `model.load` and through mlx-lm alone."""
    folder = tmp_path_factory.mktemp("fallback") / request.param
    foreign_checkpoint(folder, CONFIGS[request.param])
    theirs, _ = load_model(folder)
    return request.param, model.load(folder), theirs


def fresh(language_model: LanguageModel, prompt: list[int]) -> np.ndarray:
    return np.array(language_model.session().prefill(prompt))


def test_whose_code_runs_it_is_told(both):
    name, ours, _ = both
    assert ours.traits.implementation == ("quietly" if name in OURS else "mlx-lm")
    assert ours.traits.architecture == CONFIGS[name]["model_type"]
    assert ours.traits.vocabulary == VOCABULARY


def test_logits_are_those_of_mlx_lm(both):
    _, ours, theirs = both
    tokens = mx.array(np.random.RandomState(3).randint(0, VOCABULARY, (2, 90)))
    expected = np.array(theirs(tokens).astype(mx.float32))
    assert np.abs(np.array(ours.logits(tokens)) - expected).max() < 1e-4
    assert np.abs(fresh(ours, tokens[0].tolist()) - expected[0, -1]).max() < 1e-4


def test_greedy_answers_are_those_of_a_plain_loop_over_mlx_lms_caches(both):
    _, ours, theirs = both
    prompt = np.random.RandomState(4).randint(0, VOCABULARY, 21).tolist()
    caches, fed, expected = make_prompt_cache(theirs), mx.array([prompt]), []
    for _ in range(40):
        token = mx.argmax(theirs(fed, cache=caches)[0, -1])
        expected.append(token.item())
        fed = token.reshape(1, 1)
    assert [token.id for token in ours.generate(prompt, max_tokens=40)] == expected


def test_looking_ahead_changes_no_answer_and_is_left_where_a_cache_does_not_go_back(both):
    _, ours, _ = both
    prompt = [5, 9, 2, 7] * 5
    plain = [token.id for token in ours.generate(prompt, max_tokens=40)]
    session, lookahead = ours.session(), guessing(plain, length=3)
    generation = Generation(session, prompt, GREEDY, vocabulary=VOCABULARY, max_tokens=40, lookahead=lookahead)
    assert [token.id for token in generation] == plain
    assert (lookahead.drafted > 0) == session.takes_back


tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)


@settings(max_examples=12)
@given(data=st.data())
def test_a_session_that_extends_edits_and_branches_equals_a_fresh_one(both, data):
    _, ours, _ = both
    session = ours.session()
    prompt = data.draw(tokens)
    for _ in range(data.draw(st.integers(1, 5))):
        logits = session.prefill(prompt)
        assert session.tokens == prompt
        assert np.abs(np.array(logits) - fresh(ours, prompt)).max() < 1e-4
        written = data.draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=12))
        for token in written:
            logits = session.step(mx.array(token))
        if written:
            assert np.abs(np.array(logits) - fresh(ours, prompt + written)).max() < 1e-4
        kept = data.draw(st.integers(0, len(prompt) + len(written)))
        prompt = (prompt + written)[:kept] + data.draw(tokens)


def test_a_prompt_of_several_chunks_is_read_as_one(both):
    _, ours, theirs = both
    prompt = np.random.RandomState(5).randint(0, VOCABULARY, 300).tolist()
    expected = np.array(theirs(mx.array([prompt]))[0, -1].astype(mx.float32))
    session = ours.session()
    assert np.abs(np.array(session.prefill(prompt)) - expected).max() < 1e-4
    assert np.abs(np.array(session.prefill([*prompt, 1, 2])) - fresh(ours, [*prompt, 1, 2])).max() < 1e-4


def test_padding_changes_no_row(both):
    _, ours, _ = both
    rows = [list(range(20)), list(range(40, 53))]
    padded = mx.array([rows[0], [0] * 7 + rows[1]])
    mask = mx.array([[1] * 20, [0] * 7 + [1] * 13])
    logits = np.array(ours.logits(padded, mask))
    assert np.abs(logits[0] - np.array(ours.logits(mx.array(rows[0])))).max() < 1e-4
    assert np.abs(logits[1, 7:] - np.array(ours.logits(mx.array(rows[1])))).max() < 1e-4


def test_what_nobody_implements_is_said_in_one_sentence(tmp_path):
    folder = write_checkpoint(tmp_path / "odd", {"model_type": "perceptron_9000"}, {"weight": mx.zeros((2, 2))})
    with pytest.raises(ModelError, match="neither Quietly nor mlx-lm runs 'perceptron_9000'") as raised:
        model.load(folder)
    assert raised.value.kind == "unsupported"


def test_a_nan_in_weights_that_mlx_lm_opens_is_found_and_named(tmp_path):
    folder = foreign_checkpoint(tmp_path / "broken", CONFIGS["gemma3"])
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.layers.2.mlp.up_proj.weight"][3, 4] = float("nan")
    write_checkpoint(folder, CONFIGS["gemma3"], weights)
    with pytest.raises(ModelError, match=r"broken: model\.layers\.2\.mlp\.up_proj\.weight holds a NaN"):
        model.load(folder)


def test_a_type_asked_for_is_computed_in(tmp_path):
    folder = foreign_checkpoint(tmp_path / "gemma3", CONFIGS["gemma3"])
    expected = np.array(model.load(folder).logits(mx.arange(9)))
    for dtype in ("bfloat16", "float16"):
        logits = np.array(model.load(folder, dtype=dtype).logits(mx.arange(9)))
        assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


def test_half_a_type_on_the_cpu_is_no_reason_to_fail(tmp_path):
    """MLX's CPU back end multiplies experts in float32 only, and most mixtures are published in bfloat16."""
    folder = foreign_checkpoint(tmp_path / "moe", CONFIGS["qwen2_moe"])
    expected = np.array(model.load(folder).logits(mx.arange(9)))
    weights = {name: array.astype(mx.bfloat16) for name, array in mx.load(str(folder / "model.safetensors")).items()}
    write_checkpoint(folder, CONFIGS["qwen2_moe"], weights)
    logits = np.array(model.load(folder).logits(mx.arange(9)))
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
