"""Whatever a session did before, it continues as a fresh one would: a machine that tries, over random tiny models."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import model
from model import KVQuantisation, LanguageModel
from model.cache import CacheOptions, RecurrentCache, RotatingCache, Snapshot
from model.session import Cancelled, SessionOptions
from tests.checkpoints import random_checkpoint

VOCABULARY = 96
SHAPES = {
    "full": {"num_hidden_layers": 2},
    "hybrid": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 6},
    "sliding, multi-query": {"max_window_layers": 0, "sliding_window": 3, "num_key_value_heads": 1},
    "window of one": {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 1},
    "pangu_pi": {"model_type": "pangu_pi", "shortcut_reduction": 4},
}
RECURRENT = {
    "rwkv4": {"model_type": "rwkv", "attention_hidden_size": 32},
    "rwkv7": {"model_type": "rwkv7", "head_dim": 16},
}
OPTIONS = {
    "as they come": CacheOptions(slack=4),
    "8 bits": CacheOptions(KVQuantisation(bits=8, group_size=32), slack=4),
    "4 bits, later": CacheOptions(KVQuantisation(bits=4, group_size=32, start=7), slack=4),
    "rolling": CacheOptions(rolling_window=12, sinks=2, slack=4),
    "rolling, 8 bits": CacheOptions(KVQuantisation(bits=8, group_size=32), rolling_window=12, sinks=2, slack=4),
}
token_lists = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=14)
MODELS: dict[str, LanguageModel] = {}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("machine")
    for seed, (name, changes) in enumerate({**SHAPES, **RECURRENT}.items()):
        MODELS[name] = model.load(shaped(folder / str(seed), seed, changes))


def shaped(folder: Path, seed: int, changes: dict) -> Path:
    layers = len(changes.get("layer_types", [0, 0]))
    fixed = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": layers}
    return random_checkpoint(
        folder, seed=seed, **{**fixed, "use_sliding_window": "sliding_window" in changes, **changes}
    )


class SessionMachine(RuleBasedStateMachine):
    """A person who writes, stops, edits, regenerates and branches without a plan."""

    @initialize(
        shape=st.sampled_from(sorted(SHAPES)),
        options=st.sampled_from(sorted(OPTIONS)),
        chunk=st.integers(1, 9),
        marks=st.integers(0, 5),
    )
    def open(self, shape: str, options: str, chunk: int, marks: int) -> None:
        self.begin(shape, options, chunk, marks)

    def begin(self, shape: str, options: str, chunk: int, marks: int) -> None:
        self.model, self.caches = MODELS[shape], OPTIONS[options]
        self.session = self.model.session_with(SessionOptions(256, chunk, self.caches, snapshots=marks))
        self.prompts: list[list[int]] = [[1]]
        self.logits: mx.array | None = None

    def fresh(self, tokens: list[int]) -> np.ndarray:
        return np.array(self.model.session_with(SessionOptions(256, caches=self.caches)).prefill(tokens))

    def ask(self, prompt: list[int]) -> None:
        self.prompts.append(prompt[-100:])
        self.logits = self.session.prefill(self.prompts[-1])

    @rule(tokens=token_lists)
    def extend(self, tokens: list[int]) -> None:
        self.ask([*self.session.tokens, *tokens])

    @rule(tokens=token_lists, place=st.floats(0, 1))
    def edit_earlier(self, tokens: list[int], place: float) -> None:
        self.ask([*self.session.tokens[: int(place * len(self.session))], *tokens])

    @rule(which=st.integers(0, 50))
    def regenerate_or_branch(self, which: int) -> None:
        self.ask(self.prompts[-1 - which % len(self.prompts)])

    @rule(tokens=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9))
    def write(self, tokens: list[int]) -> None:
        if self.logits is not None and len(self.session) < 200:
            for token in tokens:  # not evaluated in between, as when an answer is stopped in its middle
                self.logits = self.session.step(mx.array(token))

    @rule(tokens=token_lists, looks=st.integers(0, 3))
    def cancel_while_reading(self, tokens: list[int], looks: int) -> None:
        left = iter(range(looks))
        prompt = [*self.session.tokens, *tokens][-100:]
        try:
            self.logits = self.session.prefill(prompt, cancelled=lambda: next(left, None) is None)
        except Cancelled:
            self.logits = None

    @invariant()
    def continues_as_a_fresh_session(self) -> None:
        if getattr(self, "logits", None) is not None:
            difference = np.abs(np.array(self.logits) - self.fresh(list(self.session.tokens))).max()
            assert difference < 1e-3, f"{difference} after {len(self.session)} tokens"


class OnlySlidingLayers(SessionMachine):
    """The same where what a rotating cache does wrong shows soonest."""

    @initialize(chunk=st.integers(1, 9), marks=st.integers(2, 5))
    def open(self, chunk: int, marks: int) -> None:
        self.begin("sliding, multi-query", "as they come", chunk, marks)


class OnlyStates(SessionMachine):
    """The same where nothing can be taken back, and all that is gone back to is what was kept."""

    @initialize(shape=st.sampled_from(sorted(RECURRENT)), chunk=st.integers(1, 9), marks=st.integers(0, 5))
    def open(self, shape: str, chunk: int, marks: int) -> None:
        self.begin(shape, "as they come", chunk, marks)


def run(examples: int, machine: type[SessionMachine] = SessionMachine, **more: Any) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            **{"stateful_step_count": 10, "phases": (Phase.generate, Phase.shrink), **more},
            report_multiple_bugs=False,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_session_continues_as_a_fresh_one():
    run(80, stateful_step_count=7)


def test_a_session_over_a_recurrent_state_does_too():
    run(25, OnlyStates, stateful_step_count=7)


@pytest.mark.soak
def test_a_session_continues_as_a_fresh_one_through_many_more():
    run(2000)
    run(1000, OnlyStates)


def test_the_machine_finds_a_broken_restore(monkeypatch):
    def forgetful(self: RotatingCache, snapshot: Snapshot) -> bool:
        """Goes back to the position, and keeps the keys of what came after it."""
        self.offset = snapshot.offset
        return True

    monkeypatch.setattr(RotatingCache, "restore", forgetful)
    with pytest.raises((AssertionError, ValueError)):  # wrong logits, or masks that no longer fit
        run(600, OnlySlidingLayers, phases=(Phase.generate,), derandomize=True)


def test_the_machine_finds_a_state_that_is_not_put_back(monkeypatch):
    def forgetful(self: RecurrentCache, snapshot: Snapshot) -> bool:
        self.offset = snapshot.offset
        return True

    monkeypatch.setattr(RecurrentCache, "restore", forgetful)
    with pytest.raises(AssertionError):
        run(600, OnlyStates, phases=(Phase.generate,), derandomize=True)


def test_the_machine_finds_a_trim_one_beyond_the_slack(monkeypatch):
    exact = RotatingCache.rewindable.fget
    monkeypatch.setattr(RotatingCache, "rewindable", property(lambda self: min(self.offset, exact(self) + 1)))
    with pytest.raises((AssertionError, ValueError)):  # wrong logits, or masks that no longer fit
        run(600, OnlySlidingLayers, phases=(Phase.generate,), derandomize=True)
