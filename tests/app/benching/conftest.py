"""What tests of measuring share: someone to be measured who plays, and whatever may come out of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies

from app.benching.messages import Bandwidth, Decode, Prepared, Sample, Thing, Unmeasured
from app.benching.rounds import Entry, Figure, Plan, Report, length
from app.benching.runner import Progress
from app.errors import QuietlyError

Answer = Callable[[Thing], Sample | Unmeasured]


def at_a_rate(rate: float) -> Answer:
    """Everything at so many tokens a second; a token needs a megabyte, of which there are a thousand a second."""

    def answer(thing: Thing) -> Sample | Unmeasured:
        match thing:
            case Bandwidth():
                return Sample(1.0, read=10**9)
            case Decode(depth, tokens):
                return Sample(tokens / rate, memory=1000 + depth, read=10**6)
            case _:
                return Sample(length(thing) / rate, memory=1000)

    return answer


@dataclass
class Stage:
    """Where players stand: who is open now, and all that was asked of whom."""

    open: set[str] = field(default_factory=set)
    most: int = 0
    """How many were open at one time."""
    asked: list[tuple[str, Thing]] = field(default_factory=list)


class Player:
    """A runner without a process. It answers by `answer`, and dies when it is asked for `fatal`."""

    def __init__(
        self,
        name: str,
        stage: Stage,
        answer: Answer,
        fatal: Thing | None = None,
        refuses: bool = False,
        context: int = 10_000,
    ) -> None:
        self.name = name
        self._stage = stage
        self._answer = answer
        self._fatal = fatal
        self._refuses = refuses
        self._context = context

    async def prepare(self, progress: Progress) -> Prepared:
        self._stage.open.add(self.name)
        self._stage.most = max(self._stage.most, len(self._stage.open))
        if self._refuses:
            raise QuietlyError(f"{self.name} is not here: bring it.")
        return Prepared("MLX 1", "a chip (CPU)", (("numbers", "float32"),), self._context)

    async def measure(self, thing: Thing) -> Sample | Unmeasured:
        assert self.name in self._stage.open
        self._stage.asked.append((self.name, thing))
        await asyncio.sleep(0)  # others may act meanwhile
        if thing == self._fatal:
            raise QuietlyError(f"{self.name} died: try again.")
        return self._answer(thing)

    async def close(self) -> None:
        self._stage.open.discard(self.name)


@strategies.composite
def reports(draw: strategies.DrawFn) -> Report:
    """What may have come out: any of it, or nothing."""
    lengths = strategies.lists(strategies.integers(1, 1 << 20), max_size=4).map(tuple)
    plan = Plan(prompts=draw(lengths), depths=draw(lengths), answer=draw(strategies.integers(1, 1000)))
    words = strategies.text(max_size=40)
    seconds = strategies.floats(1e-7, 1e5)
    sizes = strategies.none() | strategies.integers(1, 1 << 42)
    sample = strategies.builds(Sample, seconds, sizes, sizes)
    figure = strategies.builds(Figure, strategies.lists(sample, max_size=4), words)
    entries = []
    for name in draw(
        strategies.sampled_from([("quietly",), ("quietly", "mlx-lm"), ("quietly", "mlx-lm", "llama.cpp")])
    ):
        figures = {thing: draw(figure) for thing in plan.things if draw(strategies.booleans())}
        setup = strategies.lists(strategies.tuples(words, words), max_size=3).map(tuple)
        prepared = draw(strategies.none() | strategies.builds(Prepared, words, words, setup, strategies.just(100)))
        entries.append(Entry(name, prepared, figures, draw(words)))
    return Report(draw(words), plan, entries)
