"""Training: each architecture learns, and what comes of it opens and speaks."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

import model
from model.allocation import LAYERS_AT_ONCE
from model.language_model import LanguageModel
from model.layers.pacing import Pace, unpaced
from model.tokenizer import Turn
from tests.training import pack, results
from tests.training.corpus import Rows, rows_of, tokenizer_for, tokens_of
from tests.training.pack import packed, whole_name
from tests.training.results import Run, parameters_of, seen, write_checkpoint
from tests.training.subjects import SUBJECTS, Subject
from tests.training.train import new_network, rate_at, train

LENGTH, STEPS = 48, 12
SMALL: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS: dict[str, Any] = {
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "sliding_window": 8,
    "max_window_layers": 1,
}
RANKS: dict[str, Any] = {f"{part}_low_rank_dim": 8 for part in ("decay", "a", "v", "gate")}
TOKENIZER = tokenizer_for(0, size=400, count=40)
TEXTS = tokens_of(TOKENIZER, 0, 30)


def small(name: str) -> Subject:
    """The subject as it is but for its size."""
    subject = SUBJECTS[name]
    more = {**SMALL, "num_heads": 1, **RANKS} if subject.fields["model_type"] == "rwkv7" else {**SMALL, **HEADS}
    return replace(subject, fields={**subject.fields, **more}, length=LENGTH, batch=2, rate=1e-2)


def rows() -> Rows:
    return rows_of(TOKENIZER, TEXTS, LENGTH)


def train_anew(name: str, seed: int = 0) -> tuple[dict[str, Any], nn.Module, list[str]]:
    said: list[str] = []
    fields, network = new_network(small(name), TOKENIZER, seed)
    train(small(name), network, rows(), seed, STEPS, until=float("inf"), say=said.append)
    return fields, network, said


trained = cache(train_anew)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_few_steps_lower_the_loss(name: str) -> None:
    _, fresh = new_network(small(name), TOKENIZER, seed=0)
    _, network, said = trained(name)
    before, after = (seen(each, rows()).loss for each in (fresh, network))
    assert after < before - 0.2
    assert said[-1].startswith(f"step {STEPS} of {STEPS}, loss ")


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_parameter_learns(name: str) -> None:
    _, fresh = new_network(small(name), TOKENIZER, seed=0)
    _, network, _ = trained(name)  # what begins behind a zero moves once that has moved
    after = parameters_of(network)
    assert [path for path, was in parameters_of(fresh).items() if mx.array_equal(was, after[path])] == []


def test_a_seed_trains_the_same_model_again() -> None:
    one, other = (parameters_of(train_anew("demo-llama", seed=0)[1]) for _ in range(2))
    assert all(mx.array_equal(weight, other[path]) for path, weight in one.items())


def test_steps_are_cut_where_the_time_does_not_do_and_that_is_said() -> None:
    said: list[str] = []
    _, network = new_network(small("demo-llama"), TOKENIZER, seed=0)
    run = train(small("demo-llama"), network, rows(), 0, 1_000, until=0.0, say=said.append)
    assert run.steps == 25
    assert said[0] == "25 steps instead of 1,000: more do not fit into the time"


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    _, network = new_network(small("demo-llama"), TOKENIZER, seed=0)
    network.model.norm.weight = network.model.norm.weight * float("nan")
    with pytest.raises(ArithmeticError, match="no number"):
        train(small("demo-llama"), network, rows(), 0, 5, until=float("inf"), say=lambda line: None)


def test_the_learning_rate_rises_and_then_falls_along_a_cosine() -> None:
    rates = [rate_at(number, 1_000, 1.0) for number in range(1_000)]
    top = rates.index(max(rates))
    assert rates[0] < 0.02 and 90 <= top <= 110
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.03


def test_nothing_is_waited_for_while_a_step_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait inside of what is compiled is an error, and on a GPU long prompts are waited for."""
    queued: list[mx.array] = []
    monkeypatch.setattr(mx, "async_eval", queued.append)
    with unpaced():
        traced = Pace(512, gpu=True)
    for pace in (traced, Pace(512, gpu=True)):
        assert not queued
        for _ in range(LAYERS_AT_ONCE):
            pace(mx.array([1.0]))
    assert queued


def test_a_trained_model_is_packed_and_opens_and_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_LONGEST", 4)  # it has learnt nothing yet
    fields, network, _ = trained("demo-rwkv7")
    monkeypatch.setattr(pack, "_HELD_BACK", 10)
    run = Run(seed=0, steps=STEPS, tokens=1_000, seconds=1.0, trained_on="two cores")
    write_checkpoint(tmp_path / whole_name("demo-rwkv7"), fields, network, TOKENIZER, run)
    said = packed(tmp_path, "demo-rwkv7")
    opened = model.load(tmp_path / "demo-rwkv7")
    assert isinstance(opened, LanguageModel)
    assert opened.traits.bits == 4
    assert opened.traits.defaults.temperature > 0
    prompt = opened.prompt([Turn("user", "When do I sow carrots?")])
    assert len(list(opened.generate(prompt, max_tokens=4))) > 0
    assert "packed into" in said
    card = (tmp_path / "demo-rwkv7" / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card and "When do I sow carrots?" in card
