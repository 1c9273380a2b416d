"""Guesses are read while that pays, and no longer: the gate on a clock that is played."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.lookahead import LENGTHS, LONGEST, Costs, Drafts, Gate, Lookahead


@dataclass
class Machine:
    """A device that takes its time, and writes an answer as `Generation` does. Times in single steps."""

    token: float = 0.1
    """What each drafted token adds to a pass."""
    restart: float = 0.2
    """What a pass takes longer that was not queued before the one before it was done."""
    now: float = 0.0

    def plays(self, right: Sequence[bool], gate: Gate, strengths: Sequence[int] = (1,)) -> Lookahead:
        """Write as many tokens as there are guesses, each `right` or not. The clock says what it took."""
        guesses = Guesses(right, strengths)
        ahead = Lookahead([(guesses, gate)], clock=lambda: self.now)
        ahead.begin([0], lambda: False)
        told = queued = False
        while guesses.at < len(right):
            hopes = ahead.hopes()
            if not told:
                self.now += 1 if queued else 1 + self.restart
            ahead.came(guesses.at, queued=not hopes)
            queued, told = not hopes and not told, False
            if hopes and (guess := ahead.draft(len(right) - guesses.at - 1, frozenset())):
                self.now += 1 + self.restart + self.token * len(guess)
                ahead.judged(guess, guesses.drawn(len(guess)))
                told = True
        return ahead

    def takes(self, right: Sequence[bool], costs: Costs | None = None) -> float:
        """Times as long as without guesses."""
        started = self.now
        self.plays(right, Gate(costs or Costs()))
        return (self.now - started) / len(right)


class Guesses(Drafts):
    """Right and wrong as it was told to be. Tokens are places; a wrong guess is -1."""

    def __init__(self, right: Sequence[bool], strengths: Sequence[int]) -> None:
        self._right, self._strengths = right, strengths
        self.at = 0

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        pass

    @property
    def strength(self) -> int | None:
        return self._strengths[self.at % len(self._strengths)]

    @property
    def next(self) -> int | None:
        return self._says(self.at)

    def _says(self, place: int) -> int:
        return place if place < len(self._right) and self._right[place] else -1

    def add(self, token: int) -> None:
        assert token == self.at
        self.at += 1

    def propose(self, most: int) -> list[int]:
        return [self._says(self.at + place) for place in range(most)]

    def drawn(self, guessed: int) -> list[int]:
        return [self.at + place for place in range(guessed + 1)]


def by_chance(share: float, tokens: int, seed: int = 0) -> list[bool]:
    draw = random.Random(seed)
    return [draw.random() < share for _ in range(tokens)]


@settings(max_examples=60)
@given(
    token=st.floats(0.01, 1.2),
    restart=st.floats(0, 1),
    share=st.floats(0, 1),
    turns=st.lists(st.floats(0, 1), max_size=4),
    seed=st.integers(0, 10**6),
)
def test_no_text_on_no_machine_takes_noticeably_longer(token, restart, share, turns, seed):
    text = [right for part in [share, *turns] for right in by_chance(part, 400, seed)]
    machine = Machine(token, restart)
    machine.plays(text, Gate(Costs()))
    assert machine.now <= len(text) / 0.98 + 6, "but for a few steps in which it learns"


def test_text_that_nobody_guesses_costs_next_to_nothing():
    assert Machine().takes(by_chance(0.1, 1000)) < 1.01


def test_text_that_is_guessed_well_is_written_several_times_as_fast():
    assert Machine().takes([True] * 200) < 1 / 3
    assert Machine().takes(by_chance(0.9, 200)) < 1 / 1.5


def test_where_passes_cost_as_much_as_single_steps_none_is_made_but_to_learn_that():
    assert Machine(token=1.1).takes([True] * 1000) < 1.015


def known_costs() -> Costs:
    """Those of a device that is just as it was expected to be."""
    costs = Costs()
    for length in LENGTHS:
        costs.passed(length, costs.of(length))
    return costs


def lengths(right: Sequence[bool]) -> list[int]:
    """How many tokens would be drafted after each that was guessed right or wrong."""
    gate, found = Gate(known_costs()), []
    for _ in range(2):
        gate.stepped(1)
    for one in right:
        gate.judge(1, one)
        found.append(gate.length(1))
    return found


def test_drafts_grow_with_what_is_right_and_shrink_with_what_is_wrong():
    growing = lengths([True] * 60)
    assert growing == sorted(growing) and growing[-1] == LONGEST and set(growing) <= set(LENGTHS)
    shrinking = lengths([True] * 60 + [False] * 60)[60:]
    assert shrinking == sorted(shrinking, reverse=True) and shrinking[-1] == 0


def test_guesses_of_different_strength_are_judged_apart():
    gate = Gate(known_costs())
    for _ in range(2):
        gate.stepped(1)
    for _ in range(40):
        gate.judge(0, False)
        gate.judge(3, True)
    assert gate.length(0) == 0 and gate.length(3) == LONGEST


def test_nothing_is_drafted_before_it_is_known_what_a_step_takes():
    gate = Gate(Costs())
    gate.judge(3, True)
    assert gate.length(3) == 0
    gate.stepped(1)
    gate.stepped(1)
    assert gate.length(3) > 0


def test_it_is_tried_again_rarely_and_goes_on_where_it_has_begun_to_pay():
    gate, trials = Gate(Costs()), []
    for step in range(2000):
        gate.stepped(1)
        gate.judge(1, False)
        if length := gate.length(1):
            trials.append(step)
            gate.passed(length, 0, 2)
    assert 10 < len(trials) < 25 and trials[1] > 100
    machine, costs = Machine(token=1.0), Costs()
    machine.takes([True] * 400, costs)
    machine.token = 0.05
    gate = Gate(costs)
    machine.plays([True] * 2000, gate)
    started = machine.now
    machine.plays([True] * 200, gate)
    assert machine.now - started < 100, "what it once cost is not held against it for ever"


def test_what_passes_cost_is_known_from_answer_to_answer():
    costs, machine = Costs(), Machine(token=0.6)
    machine.takes([True] * 400, costs)
    learned = Machine(token=0.6)
    assert learned.takes([False] * 20, costs) <= Machine(token=0.6).takes([False] * 20)


def test_a_machine_that_hiccups_once_is_not_judged_by_it():
    costs = Costs()
    for _ in range(10):
        costs.passed(3, 1.2)
    costs.passed(3, 50)
    assert costs.of(3) < 1.7


@pytest.mark.parametrize("length", range(1, LONGEST + 1))
def test_a_draft_cut_short_is_judged_as_the_next_longer_one(length):
    costs = Costs()
    for _ in range(30):
        costs.passed(length, 3)
    assert costs.of(next(known for known in LENGTHS if known >= length)) == pytest.approx(3, rel=0.01)


def test_time_that_others_take_is_not_counted():
    now = 0.0
    seconds: list[float] = []

    class Watching(Gate):
        def stepped(self, taken: float) -> None:
            seconds.append(taken)

    ahead = Lookahead([(Guesses([True] * 9, [1]), Watching(Costs()))], clock=lambda: now)
    ahead.begin([0], lambda: False)
    for token in range(4):
        now += 1
        ahead.came(token, queued=True)
        with ahead.unwatched():
            now += 100
    assert seconds == [1, 1, 1], "and the first interval, in which the beginning fell, is none"
