"""Which way of computing is the best for a model on this machine: the rule's and what may be tried beside it, in turns.

What is chosen must win by more than the rule differs from itself, which takes part twice for that. It knows neither
processes nor where choices are kept.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from statistics import median

import msgspec

from app.benching.messages import Decode, Prefill, Prepared, Thing, Unmeasured
from app.benching.rounds import Doing
from app.benching.runner import Runner
from app.errors import QuietlyError
from model.choices import Choices, variants

_PROMPTS = (2048, 1024, 512)
"""Tokens that are read: the most that take no longer than `_PATIENCE`, else the fewest."""
_PATIENCE = 2.0
_ANSWER = 32
"""Tokens that are written."""
_STOPPED = 0.3
"""Seconds within which reading a prompt has to stop: a chunk that takes longer is not chosen, however fast it is."""
_LEAST = 0.02
"""By how much a gain must exceed the noise, as a share of the rule's speed."""
_FEWEST = 3
"""Rounds, below which nothing can be told from noise."""

MOST = 12
"""Ways that are tried at once, at most, the rule twice among them."""

Make = Callable[[Choices | None], Runner]
"""Gives someone who computes so; None is as the rule has it."""


class Gain(msgspec.Struct, frozen=True):
    """How many times as fast as the rule one way is."""

    prefill: float = 1.0
    decode: float = 1.0

    @property
    def both(self) -> float:
        return self.prefill * self.decode


class Tried(msgspec.Struct, frozen=True):
    """One way to compute, and what it gave: medians over the rounds, in each of which the rule took its turn too."""

    choices: Choices
    gain: Gain


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    rule: Choices
    chosen: Tried
    """The rule itself where nothing is better by more than the noise."""
    noise: Gain
    """By how much the rule differed from itself, as shares."""
    prompt: int
    """Tokens that were read."""
    tried: tuple[Tried, ...]

    @property
    def is_better(self) -> bool:
        return self.chosen.choices != self.rule


async def tune(
    make: Make, gpu: bool, rounds: int = 5, doing: Doing = lambda *_: None, *, apart: bool = True
) -> Outcome:
    """Try what there is to try, `rounds` times each. QuietlyError where the model cannot be measured.

    `apart`: only one has the model in memory at a time, each opened anew for each of its turns; else all `MOST` may.
    """
    if rounds < _FEWEST:
        raise QuietlyError(f"{rounds} rounds tell nothing from noise: ask for {_FEWEST} or more.")
    rule, prompt, rate = await _looked_at(make)
    ways = [way for way in variants(rule, gpu) if _is_apt(way, rule, prompt, rate)]
    times = await _rounds(make, [rule, rule, *ways], prompt, rounds, doing, apart)
    noise = Gain(*(_deviation(times[0], times[1], part) for part in (0, 1)))
    tried = [Tried(way, _gain(times[0], own)) for way, own in zip(ways, times[2:], strict=True)]
    good = [one for one in tried if is_better(one.gain, noise)]
    if (joint := _joint(rule, good)) is not None:
        again = await _rounds(make, [rule, joint], prompt, rounds, doing, apart)
        tried.append(Tried(joint, _gain(*again)))
        good += [tried[-1]] if is_better(tried[-1].gain, noise) else []
    chosen = max(good, key=lambda one: one.gain.both, default=Tried(rule, Gain()))
    return Outcome(rule, chosen, noise, prompt, tuple(tried))


def is_better(gain: Gain, noise: Gain) -> bool:
    """Whether one of the two wins by more than the noise, and neither loses by more."""
    pairs = ((gain.prefill, noise.prefill), (gain.decode, noise.decode))
    wins = any(each > 1 + _LEAST + other for each, other in pairs)
    return wins and all(each >= 1 - max(_LEAST, other) for each, other in pairs)


def _joint(rule: Choices, good: Sequence[Tried]) -> Choices | None:
    """All that is better than the rule at once, of each thing the best; None where that is nothing new."""
    joint = rule
    for one in sorted(good, key=lambda one: one.gain.both):
        for name in Choices.__dataclass_fields__:
            if getattr(one.choices, name) != getattr(rule, name):
                joint = replace(joint, **{name: getattr(one.choices, name)})
    return joint if all(joint != one.choices for one in (*good, Tried(rule, Gain()))) else None


def _is_apt(way: Choices, rule: Choices, prompt: int, rate: float) -> bool:
    """Whether what is measured can tell it from the rule, and reading a prompt can be stopped soon enough."""
    return way.chunk == rule.chunk or (way.chunk <= prompt and way.chunk / rate <= _STOPPED)


# --- measuring ------------------------------------------------------------------------------------------------------

_Times = list[tuple[float, float]]
"""Of each round the seconds of reading and of writing."""


@contextlib.asynccontextmanager
async def _opened(make: Make, way: Choices | None) -> AsyncIterator[tuple[Runner, Prepared]]:
    runner = make(way)
    try:
        yield runner, await runner.prepare(lambda done, total: None)
    finally:
        await runner.close()


async def _looked_at(make: Make) -> tuple[Choices, int, float]:
    """The rule's choices, the tokens of the prompts to read, and how many a second that will be, about."""
    async with _opened(make, None) as (runner, prepared):
        if prepared.choices is None:
            raise QuietlyError(f"{runner.name} has nothing to choose from.")
        fitting = [prompt for prompt in _PROMPTS if prompt < prepared.context] or [max(1, prepared.context // 2)]
        shortest = fitting[-1]
        rate = shortest / await _best(runner, Prefill(shortest))
        prompt = next((prompt for prompt in fitting if prompt / rate <= _PATIENCE), shortest)
        return prepared.choices, prompt, rate


async def _rounds(
    make: Make, ways: Sequence[Choices], prompt: int, rounds: int, doing: Doing, apart: bool
) -> list[_Times]:
    """What each of the ways takes, round by round; nobody always comes first."""
    times: list[_Times] = [[] for _ in ways]
    async with contextlib.AsyncExitStack() as together:
        runners: dict[int, Runner] = {}
        for number in range(rounds):
            for place in range(len(ways)):
                way = (number + place) % len(ways)
                doing(number * len(ways) + place, rounds * len(ways), f"prompts by {ways[way].chunk:,} tokens")
                async with contextlib.AsyncExitStack() as alone:
                    if way not in runners:
                        stack = alone if apart else together
                        runners[way], _ = await stack.enter_async_context(_opened(make, ways[way]))
                    runner = runners.pop(way) if apart else runners[way]
                    times[way].append((await _best(runner, Prefill(prompt)), await _best(runner, Decode(0, _ANSWER))))
    return times


async def _best(runner: Runner, thing: Thing) -> float:
    """The better of two times in seconds, after a first one that does not count; where that takes long, it does."""
    times: list[float] = []
    while len(times) < (2 if times and times[0] > _PATIENCE else 3):
        sample = await runner.measure(thing)
        if isinstance(sample, Unmeasured):
            raise QuietlyError(f"This model cannot be tuned: {sample.why}.")
        times.append(sample.seconds)
    return min(times[-2:])


def _gain(rule: _Times, own: _Times) -> Gain:
    return Gain(
        *(median(before[part] / after[part] for before, after in zip(rule, own, strict=True)) for part in (0, 1))
    )


def _deviation(rule: _Times, again: _Times, part: int) -> float:
    """How far apart the rule and the rule are, as a share: in the worst round but one, where there are enough."""
    pairs = [(one[part], other[part]) for one, other in zip(rule, again, strict=True)]
    apart = sorted(max(pair) / min(pair) - 1 for pair in pairs)
    return apart[-2] if len(apart) > _FEWEST else apart[-1]
