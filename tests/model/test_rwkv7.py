"""RWKV-7 in its own ways: a state of float32, BlinkDL's names, what is packed, and what a state holds on to.

That its logits are the reference's is in tests/model/test_golden.py.
"""

import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

import model
from model import LanguageModel
from model.cache import CacheOptions
from model.choices import Choices
from model.config import read_fields
from model.layers.stacked import stacked
from model.session import Cancelled
from tests.checkpoints import GOLDEN, golden_checkpoint, random_checkpoint, write_checkpoint

PLAIN = Choices(chunk=64, joined=False, compiled=False)
JOINED = Choices(chunk=64, joined=True, compiled=False)
TINY: dict[str, Any] = {
    "model_type": "rwkv7",
    "head_dim": 16,
    "hidden_size": 64,
    "intermediate_size": 128,
    "decay_low_rank_dim": 8,
    "a_low_rank_dim": 8,
    "v_low_rank_dim": 4,
    "gate_low_rank_dim": 16,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_checkpoint("rwkv7", tmp_path_factory.mktemp("rwkv7") / "rwkv7")


@pytest.fixture(scope="module")
def golden(folder: Path) -> LanguageModel:
    return model.load(folder)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    arrays = mx.load(str(GOLDEN / "rwkv7" / "expected.safetensors"))
    return {name: np.array(array) for name, array in arrays.items()}


def pieces(network: Any, tokens: np.ndarray, size: int, last: int | None = None) -> np.ndarray:
    """The logits of a batch that is read `size` tokens at a time."""
    caches = network.make_cache(CacheOptions())

    def read(piece: np.ndarray) -> np.ndarray:
        return np.array(network(mx.array(piece), caches, last).astype(mx.float32))

    cuts = range(size, tokens.shape[1], size)
    return np.concatenate([read(piece) for piece in np.split(tokens, cuts, axis=1)], axis=1)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 50, 75])
def test_a_batch_with_a_run_of_equal_tokens_is_the_reference_however_it_is_cut(golden, expected, size) -> None:
    logits = pieces(golden.network, expected["input_ids"], size)
    assert np.abs(logits - expected["logits"]).max() < 2e-4


def test_an_interrupted_prompt_goes_on_where_it_stopped(golden, expected) -> None:
    prompt = [*expected["input_ids"][0].tolist(), *expected["input_ids"][1].tolist()]
    session, looks = golden.session(), iter([False, True])
    with pytest.raises(Cancelled):
        session.prefill(prompt, cancelled=lambda: next(looks))
    assert session.tokens == prompt[: golden.traits.choices.chunk]
    assert mx.allclose(session.prefill(prompt), golden.session().prefill(prompt), atol=1e-4)


def test_mlx_lm_says_the_same(golden, folder, expected, monkeypatch) -> None:
    monkeypatch.setattr(mx, "compile", lambda function=None, **_: function or (lambda inner: inner))
    from model.registry import mlx_lm_network

    theirs = mlx_lm_network(folder, "rwkv7")
    caches = theirs.make_cache(CacheOptions())
    tokens = expected["input_ids"][:1]
    read = np.array(theirs(mx.array(tokens[:, :70]), caches))
    stepped = [np.array(theirs(mx.array(tokens[:, index : index + 1]), caches)) for index in range(70, 75)]
    ours = pieces(golden.network, tokens, 75)
    assert np.abs(np.concatenate([read, *stepped], axis=1) - ours).max() < 2e-4


@pytest.fixture
def stays_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights stay so, as on a GPU."""
    monkeypatch.setattr("model.weights.place.unpacks", lambda *_: False)


def test_a_checkpoint_that_mlx_lm_wrote_opens_though_it_packs_the_low_ranks_too(
    folder, expected, tmp_path, stays_packed
) -> None:
    stored: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))
    weights: dict[str, mx.array] = {}
    settings: dict[str, Any] = {"group_size": 64, "bits": 8}
    for name, array in stored.items():
        module, _, kind = name.rpartition(".")
        if name.endswith((".k_k", ".k_a", ".g_norm.weight", ".g_norm.bias")):
            array = array.reshape(2, 64)
        if array.ndim == 2 and kind == "weight" and array.shape[1] % 64 == 0 and "norm" not in name:
            parts = mx.quantize(array, **settings)
            weights |= dict(zip((name, f"{module}.scales", f"{module}.biases"), parts, strict=True))
        else:
            weights[name] = array
    theirs = write_checkpoint(tmp_path / "theirs", {**read_fields(folder), "quantization": settings}, weights)
    assert "model.layers.1.attn.a_lora.lora.0.scales" in weights
    for choices in (PLAIN, JOINED):
        opened = model.load(theirs, choices=choices)
        logits = np.array(opened.logits(mx.array(expected["input_ids"])))
        assert np.abs(logits - expected["logits"]).mean() < 0.05


def test_the_state_is_float32_and_as_large_after_many_tokens_as_after_one(folder) -> None:
    low = model.load(folder, dtype="bfloat16")
    kept = {path for path, array in tree_flatten(low.network.parameters()) if array.dtype == mx.float32}
    assert "model.layers.1.attn.g_norm.weight" in kept and not any("proj" in path for path in kept)
    sizes = set()
    for length in (1, 2, 70):
        caches = low.network.make_cache(CacheOptions())
        low.network(mx.array([[7] * length]), caches)
        assert [array.dtype for array in caches[0].arrays] == [mx.float32, mx.bfloat16, mx.bfloat16]
        sizes.add(sum(cache.nbytes for cache in caches))
    assert sizes == {3 * (2 * 64 * 64 * 4 + 2 * 128 * 2)}


def blinkdl(name: str) -> str:
    """What BlinkDL's files call a tensor."""
    name = re.sub(r"attn\.([wavg])_lora\.lora\.0\.weight", r"att.\g<1>1", name)
    name = re.sub(r"attn\.([wavg])_lora\.lora\.2\.weight", r"att.\g<1>2", name)
    name = re.sub(r"attn\.([wavg])_lora\.lora\.2\.bias", r"att.\g<1>0", name)
    for ours, theirs in {
        "model.embeddings": "emb",
        "lm_head": "head",
        "model.norm": "ln_out",
        "model.layers": "blocks",
        "pre_norm": "ln0",
        "attn_norm": "ln1",
        "ffn_norm": "ln2",
        "attn.g_norm": "att.ln_x",
        "attn.r_proj": "att.receptance",
        "attn.k_proj": "att.key",
        "attn.v_proj": "att.value",
        "attn.o_proj": "att.output",
        "attn.": "att.",
    }.items():
        name = name.replace(ours, theirs)
    return name


def test_blinkdl_s_names_and_shapes_are_understood(folder, expected, tmp_path) -> None:
    stored: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))
    weights = {blinkdl(name): array for name, array in stored.items()}
    for name, array in weights.items():
        if re.search(r"att\.[wavg][12]$", name):
            weights[name] = mx.contiguous(array.T)
        elif array.ndim == 1 and ".att." in name and "ln_x" not in name:
            weights[name] = array.reshape(1, 1, -1)
    weights |= {"blocks.0.att.v0": mx.zeros((1, 1, 128)), "blocks.0.att.v1": mx.zeros((128, 8))}
    weights["blocks.0.att.v2"] = mx.zeros((8, 128))
    theirs = model.load(write_checkpoint(tmp_path / "blinkdl", read_fields(folder), weights))
    logits = np.array(theirs.logits(mx.array(expected["input_ids"])))
    assert np.abs(logits - expected["logits"]).max() < 2e-4


def test_what_works_out_the_corrections_is_never_packed(folder, expected, tmp_path) -> None:
    packed = model.load(model.quantise(folder, tmp_path / "packed", bits=8), choices=PLAIN)
    stored = mx.load(str(tmp_path / "packed" / "model.safetensors"))
    assert not any("lora" in name for name in stored if name.endswith(".scales"))
    assert {"model.embeddings.scales", "lm_head.scales", "model.layers.1.ffn.key.scales"} <= stored.keys()
    logits = np.array(packed.logits(mx.array(expected["input_ids"])))
    assert np.abs(logits - expected["logits"]).mean() < 0.05


@pytest.mark.parametrize("bits", [None, 4], ids=["plain", "packed"])
def test_joined_and_apart_are_the_same_model(bits, tmp_path, stays_packed) -> None:
    folder = random_checkpoint(tmp_path / "model", **TINY)
    if bits:
        folder = model.quantise(folder, tmp_path / "packed", bits=bits)
    tokens = np.array([[index * 7 % 96 for index in range(40)]])
    expected = pieces(model.load(folder, choices=PLAIN).network, tokens, 40)
    for size in (40, 1):
        assert np.abs(pieces(model.load(folder, choices=JOINED).network, tokens, size) - expected).max() < 1e-4


@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("rows", [1, 6], ids=["packed", "unpacked"])
def test_maps_that_are_stacked_give_what_each_gives(bits, rows) -> None:
    from model.layers.products import Linear, unpacked_from

    maps: list[nn.Module] = [Linear(64, 32, bias=False) for _ in range(3)]
    if bits:
        maps = [each.to_quantized(32, bits) for each in maps]
        unpacked_from(nn.Sequential(*maps), 12)
    whole = stacked(maps)
    assert whole is not None
    x = mx.random.normal((3, 2, rows, 64))
    assert mx.allclose(whole(x), mx.stack([each(one) for each, one in zip(maps, x, strict=True)]), atol=1e-4)
    assert stacked([*maps, Linear(64, 16, bias=False)]) is None
    assert stacked([Linear(64, 32), Linear(64, 32)]) is None


@pytest.mark.soak
@pytest.mark.parametrize("size", [1, 512, 4096])
def test_bfloat16_weights_do_not_let_the_state_drift(golden, folder, size) -> None:
    tokens = np.random.RandomState(0).randint(0, 320, (1, 4096))
    exact = pieces(golden.network, tokens, 4096)
    error = np.abs(pieces(model.load(folder, dtype="bfloat16").network, tokens, size) - exact)
    assert error[:, 3840:].mean() <= 1.2 * error[:, :256].mean()
