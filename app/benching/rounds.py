"""Rounds of measurements: everyone in turn, several times, and what comes of it.

A machine gets warm, and others use it, so that what was measured at two times cannot be compared. So all take turns,
thing by thing, and what counts is the median. It knows neither processes nor how anything is shown.
"""

import contextlib
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import msgspec

from app.benching.messages import Bandwidth, Decode, Prefill, Prepared, Restore, Sample, Thing, Turn, Unmeasured
from app.benching.runner import Runner
from app.errors import QuietlyError
from app.words import duration

_WARM = 5.0
"""Seconds up to which the first time that something is measured counts as a warm-up."""
_MEMORY = Bandwidth(256 * 1024**2)
"""How the bandwidth is found: by more bytes than a processor keeps beside itself. It warms up by itself."""

Doing = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and what comes now."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be measured, and how thoroughly. Lengths in tokens."""

    prompts: tuple[int, ...] = (128, 512, 2048)
    depths: tuple[int, ...] = (0, 1024, 4096)
    rounds: int = 3
    answer: int = 64
    """Written at each depth."""
    new: int = 50
    """Of the turn behind the longest depth."""
    longest: float = 60.0
    """Seconds: what would take longer is left out, and what has taken so long in all is not measured again."""

    @classmethod
    def quick(cls) -> "Plan":
        """What gives an impression."""
        return cls(prompts=(128, 512), depths=(0, 512), answer=32)

    @property
    def most(self) -> int:
        """The longest conversation in it."""
        return max(map(length, self.things))

    @property
    def held(self) -> int:
        """How long the conversation is that goes on with a turn; 0 where there is none."""
        return max(self.depths, default=0)

    @property
    def cold(self) -> Prefill:
        """That conversation and its turn, read by someone who knows nothing of it."""
        return Prefill(self.held + self.new)

    @property
    def things(self) -> list[Thing]:
        """Each once, the short ones first: how long they take foretells the others. Memory is what limits writing."""
        turns: list[Thing] = [self.cold, Turn(self.held, self.new), Restore(self.held, self.new)]
        things: list[Thing] = [
            *([_MEMORY] if self.depths else []),
            *map(Prefill, sorted(self.prompts)),
            *(Decode(depth, self.answer) for depth in sorted(self.depths)),
            *(turns if self.held else ()),
        ]
        return list(dict.fromkeys(things))


class Figure(msgspec.Struct):
    """What is known of one thing."""

    samples: list[Sample] = []
    why: str = ""
    """Why nothing, or nothing more, was measured."""

    @property
    def seconds(self) -> float | None:
        """The median."""
        return median(sample.seconds for sample in self.samples) if self.samples else None

    @property
    def least(self) -> float | None:
        """The shortest time: what else runs only makes it longer."""
        return min((sample.seconds for sample in self.samples), default=None)

    @property
    def spread(self) -> float | None:
        """By how much a sample differs from the median at most, as a share of it. None for a single one."""
        middle = self.seconds
        if middle is None or len(self.samples) < 2:
            return None
        return max(abs(sample.seconds - middle) for sample in self.samples) / middle

    @property
    def memory(self) -> int | None:
        return max((sample.memory for sample in self.samples if sample.memory is not None), default=None)

    @property
    def read(self) -> int | None:
        return self.samples[-1].read if self.samples else None

    @property
    def kept(self) -> int | None:
        return self.samples[-1].kept if self.samples else None


class Entry(msgspec.Struct):
    """Someone who takes part."""

    name: str
    prepared: Prepared | None = None
    figures: dict[Thing, Figure] = {}
    ended: str = ""
    """The sentence by which it dropped out."""

    def figure(self, thing: Thing) -> Figure:
        return self.figures.get(thing, Figure())

    def as_data(self) -> dict[str, Any]:
        """Who it is, for programs."""
        prepared = self.prepared
        return {
            "name": self.name,
            "version": prepared.version if prepared else None,
            "device": prepared.device if prepared else None,
            "configuration": dict(prepared.configuration) if prepared else {},
            "ended": self.ended or None,
        }

    @property
    def memory(self) -> int | None:
        """The most that anything took; None where nobody knows."""
        sizes = [figure.memory for thing, figure in self.figures.items() if not isinstance(thing, Bandwidth)]
        return max((size for size in sizes if size is not None), default=None)


class Report(msgspec.Struct):
    """What was measured, as far as it has come."""

    model: str
    plan: Plan
    entries: list[Entry] = []
    apart: bool = False
    """Whether only one model was in memory at a time, each opened anew for its turn."""

    @property
    def is_whole(self) -> bool:
        """Whether everyone took part to the end."""
        return not any(entry.ended for entry in self.entries)

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second that the device reads, at best: what lies below was disturbed."""
        samples = [sample for entry in self.entries for sample in entry.figure(_MEMORY).samples]
        return max((sample.read / sample.seconds for sample in samples if sample.read), default=None)

    def limit(self, entry: Entry, depth: int) -> float | None:
        """Tokens a second that someone could write behind `depth` tokens, were moving memory all that takes time."""
        read = entry.figure(Decode(depth, self.plan.answer)).read
        return self.bandwidth / read if self.bandwidth and read else None

    def share(self, entry: Entry, depth: int) -> float | None:
        """What someone reaches of that limit."""
        limit, seconds = self.limit(entry, depth), entry.figure(Decode(depth, self.plan.answer)).seconds
        return self.plan.answer / seconds / limit if limit and seconds else None


async def measure(report: Report, makers: Sequence[Callable[[], Runner]], doing: Doing = lambda *_: None) -> None:
    """Let everyone measure all of `report.plan` in turns, and write down in `report` what comes of it.

    The first is the one that the others are compared with. QuietlyError where it cannot begin, or none of the others.
    Who else cannot, or dies on the way, drops out with a sentence. When cancelled, what is in the report holds, and all
    processes are ended.
    """
    plan = report.plan
    benches = [_Bench(make, plan) for make in makers]
    report.entries = [bench.entry for bench in benches]
    async with contextlib.AsyncExitStack() as opened:
        for bench in benches:
            opened.push_async_callback(bench.close)
        benches = await _ready(benches, report.apart, doing)
        once = sum(1 if isinstance(thing, Bandwidth) else len(benches) for thing in plan.things)
        total, done = plan.rounds * once, 0
        for number in range(plan.rounds):
            turn = number % len(benches)  # nobody always comes first
            order = benches[turn:] + benches[:turn]
            for bench, thing in (
                [(bench, thing) for bench in order for thing in plan.things]
                if report.apart
                else [(bench, thing) for thing in plan.things for bench in order]
            ):
                if isinstance(thing, Bandwidth) and bench is not benches[0]:
                    continue  # the memory is the same
                doing(done, total, f"{bench.entry.name}: {named(thing)}")
                done += 1
                if report.apart:
                    for other in benches:
                        if other is not bench:
                            await other.close()
                await bench.measure(thing)


async def _ready(benches: "Sequence[_Bench]", apart: bool, doing: Doing) -> "list[_Bench]":
    """Those who can begin, open unless each is to be `apart`. QuietlyError where nobody is left to compare."""
    host, *others = benches
    ready = []
    for bench in benches:
        try:
            await bench.open(doing)
            ready.append(bench)
            if apart:
                await bench.close()
        except QuietlyError as error:
            if bench is host:
                raise
            await bench.drop(error)
    if others and len(ready) == 1:  # before the time of measuring is spent on what nobody asked for
        raise QuietlyError(" ".join(dict.fromkeys(bench.entry.ended for bench in others)))
    return ready


class _Bench:
    """One who takes part: opened when first needed, dropped when it fails."""

    def __init__(self, make: Callable[[], Runner], plan: Plan) -> None:
        self._make = make
        self._plan = plan
        self._runner: Runner | None = None
        self._warm: set[Thing] = {_MEMORY}
        self._rate: float | None = None
        """Tokens of a prompt a second, of the longest one so far."""
        self.entry = Entry(make().name)

    async def open(self, doing: Doing = lambda *_: None) -> Runner:
        """Whoever measures, opened where it is not open, told in hundredths. QuietlyError where it cannot be."""
        if self._runner is None:
            self._runner = self._make()
            words = f"{self.entry.name}: opening the model"
            doing(0, 100, words)
            self.entry.prepared = await self._runner.prepare(
                lambda done, total: doing(100 * done // max(1, total), 100, words)
            )
        return self._runner

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.close()
        self._runner = None
        self._warm = {_MEMORY}

    async def drop(self, why: QuietlyError) -> None:
        """Let it take no further part."""
        self.entry.ended = str(why)
        await self.close()

    async def measure(self, thing: Thing) -> None:
        """One sample of `thing` more, where there is sense in it."""
        figure = self.entry.figures.setdefault(thing, Figure())
        if self.entry.ended or figure.why:
            return
        try:
            runner = await self.open()
            figure.why = self._against(thing, figure)
            if figure.why:
                return
            sample = await runner.measure(thing)
            if thing not in self._warm and isinstance(sample, Sample) and sample.seconds < _WARM:
                sample = await runner.measure(thing)
            self._warm.add(thing)
        except QuietlyError as error:
            await self.drop(error)
            return
        if isinstance(sample, Unmeasured):
            figure.why = sample.why
            return
        figure.samples.append(sample)
        if isinstance(thing, Prefill):
            self._rate = thing.tokens / sample.seconds

    def _against(self, thing: Thing, figure: Figure) -> str:
        """Why `thing` is not measured, or not again; empty where nothing is against it."""
        prepared = self.entry.prepared
        assert prepared is not None
        tokens = length(thing)
        if tokens >= prepared.context:
            return f"the model holds {prepared.context:,} tokens"
        if figure.samples:
            spent = sum(sample.seconds for sample in figure.samples)
            return "it took long, so it was not repeated" if spent > self._plan.longest else ""
        if self._rate and tokens / self._rate > self._plan.longest:
            return f"it would take about {duration(tokens / self._rate)}"
        return ""


def length(thing: Thing) -> int:
    """Tokens that have to be read, and written, for it."""
    match thing:
        case Prefill(tokens):
            return tokens
        case Decode(depth, tokens):
            return depth + tokens + 1
        case Turn(held, new) | Restore(held, new):
            return held + new
        case Bandwidth():
            return 0


def named(thing: Thing) -> str:
    """What is being measured, in a few words."""
    match thing:
        case Prefill(tokens):
            return f"a prompt of {tokens:,}"
        case Decode(depth, tokens):
            return f"{tokens:,} tokens behind {depth:,}"
        case Turn(held, new):
            return f"{new:,} more behind {held:,}"
        case Restore(held, new):
            return f"{new:,} more behind {held:,} from a file"
        case Bandwidth():
            return "memory"
