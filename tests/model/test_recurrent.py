"""What RWKV-4 and RWKV-7 have in common: a state of one size, however the tokens come, that nothing else hangs on."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import model
from model import KVQuantisation, LanguageModel, ModelError
from model.cache import CacheOptions, RecurrentCache
from model.choices import Choices
from model.config import parse_config
from model.recurrent import RecurrentModel
from model.registry import OURS
from tests.checkpoints import TINY_QWEN2, random_checkpoint, write_checkpoint

KINDS: dict[str, dict[str, Any]] = {"rwkv4": {"model_type": "rwkv"}, "rwkv7": {"model_type": "rwkv7", "head_dim": 16}}
EXTREMES: dict[str, dict[str, Any]] = {
    "rwkv4, a channel": {"model_type": "rwkv", "hidden_size": 2, "attention_hidden_size": 1, "intermediate_size": 1},
    "rwkv4, more channels than width": {
        "model_type": "rwkv",
        "attention_hidden_size": 40,
        "tie_word_embeddings": False,
    },
    "rwkv7, odd": {"model_type": "rwkv7", "head_dim": 7, "hidden_size": 21, "intermediate_size": 5, "vocab_size": 97},
    "rwkv7, one number a head": {"model_type": "rwkv7", "head_dim": 1, "num_hidden_layers": 1},
    "rwkv7, ranks of one": {
        "model_type": "rwkv7",
        "head_dim": 32,
        **{f"{part}_low_rank_dim": 1 for part in ("decay", "a", "v", "gate")},
    },
    "rwkv7, no biases": {"model_type": "rwkv7", "head_dim": 8, "norm_bias": False, "tie_word_embeddings": False},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("recurrent") / kind, **KINDS[kind])


@pytest.fixture(scope="module")
def opened(folder: Path) -> LanguageModel:
    return model.load(folder)


def random_network(layers: int, **changes: Any) -> RecurrentModel:
    """With the weights that it is made with, evaluated."""
    config = {**TINY_QWEN2, "tie_word_embeddings": False, "num_hidden_layers": layers, **changes}
    network = OURS[config["model_type"]](parse_config(config, "tiny"))
    assert isinstance(network, RecurrentModel)
    mx.eval(network.parameters())
    return network


def read(network: Any, tokens: mx.array) -> list[RecurrentCache]:
    """The states behind so many tokens, read at once as a prompt is."""
    caches: list[RecurrentCache] = network.make_cache(CacheOptions())
    mx.eval(network(tokens, caches, last=1), [cache.state for cache in caches])
    return caches


@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
@pytest.mark.parametrize("shape", [*KINDS.values(), *EXTREMES.values()], ids=[*KINDS, *EXTREMES])
def test_a_batch_is_its_rows_however_it_is_cut(shape: dict[str, Any], joined: bool, tmp_path: Path) -> None:
    choices = Choices(chunk=64, joined=joined, compiled=False)
    network = model.load(random_checkpoint(tmp_path / "model", **shape), choices=choices).network
    tokens = mx.array([[row + index * 7 % 90 for index in range(21)] for row in range(3)])
    rows = mx.concatenate([network(tokens[row : row + 1]) for row in range(3)])
    for cuts, last in (([21], 1), ([21], 20), ([1] * 21, None), ([1, 20], 1), ([2, 17, 2], None), ([2, 17, 2], 2)):
        caches, end = network.make_cache(CacheOptions()), 0
        for length in cuts:
            end += length
            wanted = min(last or length, length)
            found = network(tokens[:, end - length : end], caches, last and wanted)
            assert found.shape[1] == wanted
            assert mx.abs(found - rows[:, end - wanted : end]).max().item() < 2e-4, (cuts, last, end)


def test_a_state_does_not_hold_what_it_was_computed_from(opened: LanguageModel) -> None:
    def held(length: int) -> int:
        mx.clear_cache()
        before = mx.get_active_memory()
        caches = read(opened.network, mx.array([[7] * length]))
        grown = mx.get_active_memory() - before
        assert all(cache.offset == length for cache in caches)
        return grown

    assert held(512) <= held(16) + 4096


def test_more_layers_read_a_chunk_in_hardly_more_memory(kind: str) -> None:
    """Kept for a state that is computed last, one array of the hidden states' size would stay for every layer."""

    def peak(layers: int) -> int:
        network = random_network(layers, **KINDS[kind])
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        read(network, mx.array([[7] * 512]))
        return mx.get_peak_memory() - before

    assert peak(12) - peak(2) < 10 * 512 * 32 * 4


@pytest.mark.parametrize("options", [CacheOptions(KVQuantisation(8, 32)), CacheOptions(rolling_window=32)])
def test_it_has_no_keys_to_pack_and_no_window_to_roll(opened: LanguageModel, options: CacheOptions) -> None:
    with pytest.raises(ModelError, match="state has one size") as caught:
        opened.network.make_cache(options)
    assert caught.value.kind == "request"


def test_a_saved_state_of_another_shape_is_refused(
    opened: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX would spread one number over a state, and say nothing."""
    session = opened.session()
    session.prefill([1, 2, 3])
    numbers, arrays = session.dump()
    for name, array in arrays.items():
        if name in ("tokens", "marks"):
            continue
        less, more = array[(slice(0, 1),) * array.ndim][..., :1], mx.concatenate([array, array])
        for changed in (less,) if name.endswith("logits") else (less, more):  # logits may have rows that are no tokens
            monkeypatch.setattr(
                session, "dump", lambda name=name, changed=changed: (numbers, {**arrays, name: changed})
            )
            session.save(tmp_path / "session")
            with pytest.raises(ModelError, match="damaged"):
                model.load_session(tmp_path / "session", opened)


def test_a_state_saved_by_one_number_type_goes_on_in_another(
    opened: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    session = opened.session()
    expected = session.prefill([1, 2, 3])
    session.step(mx.array(5))
    session.save(tmp_path / "session")
    low = model.load(folder, dtype="bfloat16")
    restored = model.load_session(tmp_path / "session", low)
    assert restored.step(mx.array(6)).dtype == mx.bfloat16 == low.session().prefill([1]).dtype
    assert mx.abs(restored.prefill([1, 2, 3]).astype(mx.float32) - expected).max().item() < 0.05 * np.ptp(expected)


def test_a_head_beside_tied_embeddings_is_left_aside(kind: str, folder: Path, tmp_path: Path) -> None:
    weights: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))
    head = {"rwkv4": "head.weight", "rwkv7": "lm_head.weight"}[kind]
    config = {**TINY_QWEN2, **KINDS[kind]}
    again = model.load(write_checkpoint(tmp_path / "both", config, {**weights, head: mx.zeros((96, 32))}))
    tokens = mx.array([1, 2, 3])
    assert mx.array_equal(again.logits(tokens), model.load(folder).logits(tokens))


@pytest.mark.parametrize("part", ["decay", "norm", "embeddings"])
def test_what_is_missing_is_named_in_one_sentence(folder: Path, kind: str, part: str, tmp_path: Path) -> None:
    weights: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))
    words = {"decay": ("time_decay", "w_lora.lora.2.bias"), "norm": ("ln_out.weight", "model.norm.weight")}
    gone = next(name for name in sorted(weights) if name.endswith(words.get(part, ("embeddings.weight",))))
    del weights[gone]
    with pytest.raises(ModelError) as caught:
        model.load(write_checkpoint(tmp_path / "lacking", {**TINY_QWEN2, **KINDS[kind]}, weights))
    assert str(caught.value) == f"lacking: the weights have no {gone}; download the model again."


def test_an_answer_ends_that_no_context_would_end(tmp_path: Path, kind: str) -> None:
    endless = model.load(random_checkpoint(tmp_path / kind, **KINDS[kind], context_length=5))
    written = endless.generation(endless.session(), [1, 2, 3], model.Sampling(temperature=0))
    assert len(list(written)) == 5
    assert written.reason == "length"
