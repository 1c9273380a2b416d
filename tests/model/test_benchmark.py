"""What is measured is what is meant: which tokens a measurement reads, and which bytes a token needs."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

import model
from model import LanguageModel
from model.benchmark import Meter, bandwidth, number_type, packed_bits, prompt, untrained, weights_read
from model.choices import Choices
from model.config import parse_config
from model.facts import parameters, state_bytes
from model.layers import products
from tests.checkpoints import TINY_QWEN2, random_checkpoint

ROW = 2 * 2 * 2 * 8 * 4
"""Bytes of a token's keys and values: layers, both of them, heads, numbers, bytes of each."""


class Watched:
    """A network that notes how many tokens it is given at a time."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.given: list[int] = []

    def __call__(self, tokens: mx.array, caches: Any = None, last: int | None = None) -> mx.array:
        self.given.append(tokens.shape[1])
        return self.network(tokens, caches, last=last)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def since(self) -> list[int]:
        """What it was given since it was asked the last time."""
        given, self.given = self.given, []
        return given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("measured") / "tiny")


@pytest.fixture
def watched(folder: Path) -> Watched:
    return Watched(model.load(folder).network)


@pytest.fixture
def meter(folder: Path, watched: Watched, tmp_path: Path) -> Meter:
    return Meter(LanguageModel(watched, model.load(folder).traits, None), tmp_path)


def test_a_prompt_is_read_whole_each_time_and_nothing_is_written(meter: Meter, watched: Watched) -> None:
    for _ in range(2):
        assert meter.prefill(30).seconds > 0
        assert watched.since() == [30]


def test_what_stands_for_a_prompt_afterwards_is_counted(meter: Meter) -> None:
    assert meter.prefill(30).kept == ROW * 30


def test_a_model_without_training_has_the_parameters_of_its_shape_and_reads(tmp_path: Path) -> None:
    language_model = untrained(TINY_QWEN2, "tiny")
    traits = language_model.traits
    assert traits.parameters == parameters(parse_config(TINY_QWEN2, "tiny")).total
    assert (traits.architecture, traits.context, traits.vocabulary) == ("qwen2", 256, 96)
    assert Meter(language_model, tmp_path).prefill(30).kept == ROW * 30


@pytest.mark.parametrize("kind", ["rwkv", "rwkv7"])
def test_a_state_is_measured_as_keys_and_values_are(tmp_path: Path, kind: str) -> None:
    fields = {"model_type": kind, "vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2}
    language_model = untrained(fields, "tiny")
    meter = Meter(language_model, tmp_path)
    state = state_bytes(parse_config(fields, "tiny"), 4)
    held = sum(array.nbytes for _, array in tree_flatten(language_model.network.parameters()))
    assert {meter.prefill(length).kept for length in (5, 80)} == {state}
    for _ in range(2):
        assert meter.turn(40, 7).seconds > 0 and meter.restore(40, 7).seconds > 0
        assert meter.decode(30, 4).read == held - 4 * 96 * 64 + state  # a row of the embedding is looked up


def test_an_answer_is_written_behind_what_was_read_once(meter: Meter, watched: Watched) -> None:
    meter.decode(30, 8)
    assert watched.since() == [30, 1, *[1] * 8]  # the last of the prompt again, for its logits
    meter.decode(30, 8)
    assert watched.since() == [1, 1, *[1] * 8]


def test_an_answer_that_has_no_room_is_not_measured_short(meter: Meter) -> None:
    assert meter.decode(200, 54).seconds > 0
    with pytest.raises(model.ModelError, match="full before 60 tokens"):
        meter.decode(200, 60)


def test_nothing_before_an_answer_is_one_token(meter: Meter, watched: Watched) -> None:
    assert meter.decode(0, 4).seconds > 0
    assert sum(watched.since()) == 1 + 1 + 4


def test_a_turn_reads_what_is_new_and_a_prompt_everything(meter: Meter, watched: Watched) -> None:
    meter.turn(40, 7)
    assert watched.since() == [40, 7]
    meter.turn(40, 7)
    assert sum(watched.since()) <= 1 + 7


def test_what_is_restored_comes_from_the_file_and_is_not_read_again(
    meter: Meter, watched: Watched, tmp_path: Path
) -> None:
    meter.restore(40, 7)
    assert watched.since() == [40, 7] and (tmp_path / "session.safetensors").stat().st_size > 1000
    meter.restore(40, 7)
    assert watched.since() == [7]
    (tmp_path / "session.safetensors").unlink()
    with pytest.raises(model.ModelError, match="damaged or missing"):
        meter.restore(40, 7)


def test_a_longer_conversation_is_saved_anew(meter: Meter, tmp_path: Path) -> None:
    sizes = []
    for held in (20, 60):
        meter.restore(held, 3)
        sizes.append((tmp_path / "session.safetensors").stat().st_size)
    assert sizes[1] > 1.5 * sizes[0]


def test_conversations_kept_for_later_are_not_counted_as_memory_of_this_one(meter: Meter) -> None:
    alone = meter.prefill(10).memory
    for held in (180, 200, 220, 240):
        meter.turn(held, 5)
    assert meter.prefill(10).memory < 1.2 * alone


def test_a_token_needs_all_weights_and_what_was_said(folder: Path, meter: Meter) -> None:
    weights = sum(array.nbytes for array in mx.load(str(folder / "model.safetensors")).values())
    assert meter.decode(0, 4).read == weights + ROW * (1 + 4)
    assert meter.decode(100, 4).read == weights + ROW * (100 + 4)


def test_an_embedding_is_read_where_it_is_the_head_too(tmp_path: Path) -> None:
    for tied in (True, False):
        folder = random_checkpoint(tmp_path / str(tied), tie_word_embeddings=tied)
        weights = mx.load(str(folder / "model.safetensors"))
        looked_up = 0 if tied else weights["model.embed_tokens.weight"].nbytes
        assert weights_read(model.load(folder).network) == sum(a.nbytes for a in weights.values()) - looked_up


def test_matrices_that_are_joined_are_the_same_bytes(folder: Path) -> None:
    apart, joined = (
        model.load(folder, choices=Choices(chunk=64, joined=joined, compiled=False)).network for joined in (False, True)
    )
    assert weights_read(joined) == weights_read(apart)


def test_of_experts_nobody_knows_which_are_read() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = mx.zeros((4, 8, 8))

    assert weights_read(nn.Sequential(nn.Linear(8, 8), Experts())) is None


def test_how_numbers_are_held_is_told(folder: Path) -> None:
    network = model.load(folder).network
    assert (number_type(network), packed_bits(network)) == ("float32", None)
    packed = nn.Sequential(nn.Linear(64, 64))
    nn.quantize(packed, bits=4)
    assert packed_bits(packed) == 4


def test_a_longer_prompt_begins_with_a_shorter_one() -> None:
    assert prompt(50, 96)[:20] == prompt(20, 96)
    assert set(prompt(500, 96)) == set(range(96))


def test_memory_is_read_by_the_product_that_writing_takes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads twice as fast as MLX's own on a CPU: what writing reaches would else be more than all."""
    read = []
    times = products.times
    monkeypatch.setattr(products, "times", lambda x, weight: read.append(weight.nbytes) or times(x, weight))
    bandwidth(1 << 20)
    assert read and set(read) == {1 << 20}


def test_memory_is_read_as_often_as_it_takes_to_be_measured() -> None:
    small, large = bandwidth(1 << 20), bandwidth(1 << 25)
    for measured, size in ((small, 1 << 20), (large, 1 << 25)):
        assert measured.read % size == 0 and measured.seconds > 0
    assert small.read > 1 << 20
