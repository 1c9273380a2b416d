"""What `load` makes of a folder or a file: the logits that its numbers define, and what is known about it."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

import model
from model import ModelError
from tests.checkpoints import random_checkpoint, speaking_checkpoint

PROMPT = [1, 504, 3575, 282, 4649, 314, 7042, 30, 49000, 17, 2, 198]


class DenseLlama:
    """A Llama read from a GGUF file's own tensors and computed in plain numpy, one matrix after the other.

    It shares no code with the library, not even the order of the rows of q and k: in the file neighbouring numbers of
    a head turn together. Formulas: arXiv 2302.13971, 2104.09864.
    """

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.facts = {
            name.removeprefix("llama."): field.contents()
            for name, field in reader.fields.items()
            if name.startswith("llama.")
        }

    def weight(self, name: str) -> npt.NDArray[np.float32]:
        tensor = self.tensors[f"{name}.weight"]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def norm(self, name: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        spread = np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self.facts["attention.layer_norm_rms_epsilon"])
        return x / spread * self.weight(name)

    def turned(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """x (length, heads, head_dim), each pair turned by its position times its frequency."""
        length, _, dim = x.shape
        angles = np.arange(length)[:, None] * self.facts["rope.freq_base"] ** (-np.arange(0, dim, 2) / dim)
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None, :]
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)

    def logits(self, tokens: list[int]) -> npt.NDArray[np.float32]:
        """(length, vocab)"""
        embeddings = self.weight("token_embd")
        x = embeddings[tokens]
        length, heads, kv_heads = len(tokens), self.facts["attention.head_count"], self.facts["attention.head_count_kv"]
        hidden = np.triu(np.full((length, length), -np.inf), 1)
        for layer in range(self.facts["block_count"]):
            block = f"blk.{layer}"
            read = self.norm(f"{block}.attn_norm", x)
            q = self.turned((read @ self.weight(f"{block}.attn_q").T).reshape(length, heads, -1))
            k = self.turned((read @ self.weight(f"{block}.attn_k").T).reshape(length, kv_heads, -1))
            v = (read @ self.weight(f"{block}.attn_v").T).reshape(length, kv_heads, -1)
            k, v = (np.repeat(each, heads // kv_heads, axis=1) for each in (k, v))
            scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1]) + hidden
            shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
            mixed = np.einsum("hqk,khd->qhd", shares, v).reshape(length, -1)
            x = x + mixed @ self.weight(f"{block}.attn_output").T
            read = self.norm(f"{block}.ffn_norm", x)
            gate, up = read @ self.weight(f"{block}.ffn_gate").T, read @ self.weight(f"{block}.ffn_up").T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weight(f"{block}.ffn_down").T
        head = self.weight("output") if "output.weight" in self.tensors else embeddings
        return self.norm("output_norm", x) @ head.T


@pytest.mark.soak
def test_the_starter_says_what_its_file_defines(starter, conversions):
    expected = DenseLlama(starter).logits(PROMPT)
    logits = np.array(model.load(starter, conversions=conversions).logits(mx.array(PROMPT)))
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 2e-3
    assert (logits.argmax(axis=-1) == expected.argmax(axis=-1)).all()


def test_what_is_known_about_a_checkpoint(tmp_path):
    folder = speaking_checkpoint(tmp_path / "tiny")
    traits = model.load(folder).traits
    assert (traits.name, traits.path, traits.architecture, traits.implementation) == (
        "tiny",
        folder,
        "qwen2",
        "quietly",
    )
    assert traits.vocabulary == 258 and traits.context == 4096 and traits.bits is None
    assert traits.parameters == sum(array.size for array in mx.load(str(folder / "model.safetensors")).values())


def test_the_fingerprint_follows_weights_and_configuration(tmp_path):
    first = model.load(random_checkpoint(tmp_path / "a", seed=1)).traits.fingerprint
    assert model.load(random_checkpoint(tmp_path / "b", seed=1)).traits.fingerprint == first
    assert model.load(random_checkpoint(tmp_path / "c", seed=2)).traits.fingerprint != first
    assert model.load(random_checkpoint(tmp_path / "d", seed=1, rope_theta=5e5)).traits.fingerprint != first


def test_the_config_forms_of_transformers_4_and_5_give_the_same_logits(tmp_path):
    stretched = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    four = random_checkpoint(tmp_path / "four", rope_theta=5e5, rope_scaling=stretched, head_dim=16)
    five = random_checkpoint(tmp_path / "five", rope_parameters={**stretched, "rope_theta": 5e5}, head_dim=16)
    config = json.loads((five / "config.json").read_text())
    del config["rope_theta"]
    (five / "config.json").write_text(json.dumps(config))
    plain = random_checkpoint(tmp_path / "plain", rope_theta=5e5, head_dim=16)
    tokens = mx.arange(90)
    results = [np.array(model.load(folder).logits(tokens)) for folder in (four, five, plain)]
    assert np.array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 0.01, "the stretching has an effect"


def test_a_head_that_is_not_stored_is_the_embedding_whatever_the_config_says(tmp_path):
    tied = random_checkpoint(tmp_path / "tied")
    (tied / "config.json").write_text((tied / "config.json").read_text().replace("true", "false"))
    expected = np.array(model.load(random_checkpoint(tmp_path / "as-said")).logits(mx.arange(9)))
    assert np.array_equal(np.array(model.load(tied).logits(mx.arange(9))), expected)


@pytest.mark.parametrize("place", ["nowhere", "file.txt"])
def test_what_is_no_checkpoint_is_refused(tmp_path, place):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ModelError, match="is not a model folder"):
        model.load(tmp_path / place)


def test_a_window_put_on_a_checkpoint_is_the_window_of_its_configuration_and_is_labelled(tmp_path):
    plain = random_checkpoint(tmp_path / "plain", num_hidden_layers=3)
    trained = random_checkpoint(
        tmp_path / "trained", num_hidden_layers=3, use_sliding_window=True, sliding_window=5, max_window_layers=1
    )
    put_on = model.load(plain, window=5, window_layers=2)
    tokens = mx.array([index * 3 % 96 for index in range(40)])
    assert mx.allclose(put_on.logits(tokens), model.load(trained).logits(tokens), atol=1e-5)
    assert "window of 5" in put_on.traits.notes[0]
    assert put_on.traits.fingerprint != model.load(plain).traits.fingerprint
    assert model.load(plain).traits.notes == ()
