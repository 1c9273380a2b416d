"""What is chosen among ways to compute: what wins by more than the noise, and nothing that does harm. Played runners
tell times, so that every case is the same each time."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.benching.messages import Decode, Prefill, Prepared, Sample, Thing, Unmeasured
from app.benching.tuning import MOST, Gain, Outcome, is_better, tune
from app.cli.bench import bench
from app.cli.tuning import lines
from app.errors import QuietlyError
from app.settings import Paths
from app.tuned import load_tuned
from model.choices import Choices, variants
from tests.checkpoints import speaking_checkpoint

RULE = Choices(chunk=512, joined=True, compiled=True)
RATE, PER_TOKEN = 10_000.0, 0.01
Cost = Callable[[Choices, Thing, int], float]
"""The seconds of a thing, in that way, at the so manyeth turn of all, as a share of what they are by the rule."""


class Played:
    """Runners whose times are made up, and what was done with them."""

    def __init__(self, cost: Cost = lambda way, thing, turn: 1.0, context: int = 32768) -> None:
        self.cost, self.context = cost, context
        self.open: list[Choices] = []
        self.turns: list[Choices] = []
        self.most = 0

    def make(self, choices: Choices | None) -> "PlayedRunner":
        return PlayedRunner(self, choices or RULE)

    async def tuned(self, gpu: bool = True, rounds: int = 5, apart: bool = True) -> Outcome:
        outcome = await tune(self.make, gpu, rounds, apart=apart)
        assert self.open == [] and (self.most == 1) is apart
        return outcome


class PlayedRunner:
    name = "played"

    def __init__(self, played: Played, way: Choices) -> None:
        self._played, self._way = played, way

    async def prepare(self, progress: Callable[[int, int], None]) -> Prepared:
        played = self._played
        played.open.append(self._way)
        played.turns.append(self._way)
        played.most = max(played.most, len(played.open))
        return Prepared("1", "device", (), played.context, RULE)

    async def measure(self, thing: Thing) -> Sample | Unmeasured:
        assert isinstance(thing, Prefill | Decode)
        usual = thing.tokens / RATE if isinstance(thing, Prefill) else PER_TOKEN * thing.tokens
        return Sample(usual * self._played.cost(self._way, thing, len(self._played.turns)))

    async def close(self) -> None:
        if self._way in self._played.open:
            self._played.open.remove(self._way)


def faster(**by: float) -> Cost:
    """A cost at which a way that has one of these (`chunk_256`, `plain`, `separate`) takes that share of the time."""

    def cost(way: Choices, thing: Thing, turn: int) -> float:
        share = 1.0
        if isinstance(thing, Prefill):
            share *= by.get(f"chunk_{way.chunk}", 1.0)
        if isinstance(thing, Decode) and not way.compiled:
            share *= by.get("plain", 1.0)
        if not way.joined:
            share *= by.get("separate_prefill" if isinstance(thing, Prefill) else "separate", 1.0)
        return share

    return cost


async def test_where_nothing_is_better_the_rule_holds() -> None:
    outcome = await Played().tuned()
    assert not outcome.is_better and outcome.chosen.choices == RULE
    apt = [way for way in variants(RULE, True) if way.chunk <= outcome.prompt]
    assert [one.choices for one in outcome.tried] == apt


async def test_what_is_faster_is_chosen_and_told_with_what_it_gave() -> None:
    outcome = await Played(faster(chunk_256=0.8)).tuned()
    assert outcome.chosen.choices == replace(RULE, chunk=256)
    assert outcome.chosen.gain.prefill == pytest.approx(1.25) and outcome.chosen.gain.decode == pytest.approx(1.0)
    said = lines(outcome, "tiny")
    assert any("prompts by 256 tokens" in line and "1.25×" in line for line in said)
    assert any(line.startswith("Chosen and kept for tiny") for line in said)


async def test_of_several_that_are_faster_the_best_of_each_thing_are_tried_together() -> None:
    outcome = await Played(faster(chunk_256=0.8, chunk_1024=0.9, plain=0.9)).tuned()
    assert outcome.chosen.choices == replace(RULE, chunk=256, compiled=False)
    assert outcome.chosen.gain.both == pytest.approx(1 / 0.72)


async def test_two_that_do_not_go_together_are_not_chosen_together() -> None:
    def cost(way: Choices, thing: Thing, turn: int) -> float:
        both = way.chunk == 256 and not way.compiled
        return 1.5 if both else faster(chunk_256=0.8, plain=0.9)(way, thing, turn)

    assert (await Played(cost).tuned()).chosen.choices == replace(RULE, chunk=256)


async def test_a_gain_that_costs_more_elsewhere_is_none() -> None:
    outcome = await Played(faster(separate=0.7, separate_prefill=1.2)).tuned()
    assert not outcome.is_better


async def test_a_gain_within_the_noise_is_none_and_a_disturbed_round_decides_nothing() -> None:
    def noisy(way: Choices, thing: Thing, turn: int) -> float:
        return faster(chunk_256=0.93)(way, thing, turn) * (1.0 + 0.05 * (turn * 7 % 5))

    assert not (await Played(noisy).tuned()).is_better
    ways = len(variants(RULE, True)) + 2

    def disturbed(way: Choices, thing: Thing, turn: int) -> float:
        share = faster(chunk_256=0.8)(way, thing, turn)
        return share * (3 if 2 + ways <= turn < 2 + 2 * ways and way == RULE and turn % 2 else 1)

    outcome = await Played(disturbed).tuned(rounds=5)
    assert outcome.chosen.choices == replace(RULE, chunk=256)
    assert outcome.chosen.gain.prefill == pytest.approx(1.25)


async def test_a_chunk_that_could_not_be_stopped_in_time_is_not_even_tried() -> None:
    slow = await Played(lambda way, thing, turn: 25.0).tuned()
    assert slow.prompt == 512
    assert {one.choices.chunk for one in slow.tried} == {64, RULE.chunk}


async def test_where_there_is_room_each_is_opened_once() -> None:
    played = Played(faster(chunk_256=0.8))
    outcome = await played.tuned(apart=False)
    assert outcome.chosen.choices == replace(RULE, chunk=256)
    assert len(played.turns) == 1 + 2 + len(outcome.tried) and played.most <= MOST


async def test_a_short_context_is_not_exceeded() -> None:
    outcome = await Played(context=700).tuned()
    assert outcome.prompt == 512 and max(one.choices.chunk for one in outcome.tried) == 512
    assert (await Played(context=300).tuned()).prompt == 150


async def test_nobody_always_comes_first() -> None:
    played = Played()
    tried = [one.choices for one in (await played.tuned(rounds=3)).tried]
    first = [played.turns[1 + (2 + len(tried)) * number] for number in range(3)]
    assert first == [RULE, RULE, tried[0]]


async def test_where_it_cannot_be_measured_nothing_stays_open() -> None:
    class Refusing(Played):
        def make(self, choices: Choices | None) -> PlayedRunner:
            runner = super().make(choices)

            async def measure(thing: Thing) -> Unmeasured:
                return Unmeasured("it is too small")

            runner.measure = measure
            return runner

    played = Refusing()
    with pytest.raises(QuietlyError, match=r"cannot be tuned: it is too small\."):
        await played.tuned()
    assert played.open == []
    with pytest.raises(QuietlyError, match="3 or more"):
        await Played().tuned(rounds=2)


async def test_giving_up_closes_what_is_open() -> None:
    begun = asyncio.Event()

    class Endless(Played):
        def make(self, choices: Choices | None) -> PlayedRunner:
            runner = super().make(choices)

            async def measure(thing: Thing) -> Sample:
                begun.set()
                await asyncio.Event().wait()
                raise AssertionError

            runner.measure = measure
            return runner

    played = Endless()
    tuning = asyncio.create_task(tune(played.make, True))
    await begun.wait()
    tuning.cancel()
    await asyncio.wait([tuning])
    assert tuning.cancelled() and played.open == []


ratios = st.floats(0.2, 5)
gains = st.builds(Gain, ratios, ratios)
noises = st.builds(Gain, st.floats(0, 1), st.floats(0, 1))


@given(gains, noises)
def test_what_is_better_wins_once_and_never_loses(gain: Gain, noise: Gain) -> None:
    if is_better(gain, noise):
        assert gain.prefill > 1.02 or gain.decode > 1.02
        assert gain.prefill > 1 + noise.prefill or gain.decode > 1 + noise.decode
        assert gain.prefill >= 1 - max(0.02, noise.prefill) and gain.decode >= 1 - max(0.02, noise.decode)
        assert not is_better(Gain(1 / gain.prefill, 1 / gain.decode), Gain(0, 0))


@pytest.mark.soak
def test_a_real_model_is_tuned_and_forgotten_again(tmp_path: Path, places: Paths) -> None:
    model = speaking_checkpoint(tmp_path / "tiny")

    def benched(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-P", "-m", "app", "bench", str(model), *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stderr) == (0, "")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    told = benched("--tune", "--rounds", "3")
    rows, notices = load_tuned(places.tuned)
    assert notices == () and [row.choices for row in rows] == [Choices(**told["chosen"])] * told["better"]
    assert told["subject"]["architecture"] == "qwen2" and told["prompt"] >= 512 and told["tried"]
    assert all(one["prefill"] > 0 and one["decode"] > 0 for one in told["tried"])
    assert benched("--forget") == {"forgotten": told["better"]}
    assert load_tuned(places.tuned) == ((), ())


def test_what_is_said_beside_tuning_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match="--tune and --forget go with --rounds and --json alone"):
        bench("tiny", tune=True, prompt="5")
