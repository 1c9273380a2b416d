"""Everyone is measured in turns, as often as it makes sense, and whatever goes wrong with one leaves the others."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from msgspec.structs import replace

from app.benching.messages import Bandwidth, Decode, Prefill, Prepared, Restore, Sample, Thing, Turn, Unmeasured
from app.benching.rounds import Figure, Plan, Report, length, measure, named
from app.benching.runner import Progress
from app.errors import QuietlyError
from tests.app.benching.conftest import Answer, Player, Stage, at_a_rate

A_THOUSAND = at_a_rate(1000)
PLAN = Plan(prompts=(10, 20), depths=(0, 100), rounds=4, answer=8)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def player(stage: Stage) -> Callable[..., Callable[[], Player]]:
    """Someone at a thousand tokens a second, unless told otherwise."""

    def make(name: str, answer: Answer = A_THOUSAND, **more) -> Callable[[], Player]:
        return partial(Player, name, stage, answer, **more)

    return make


async def test_all_take_turns_with_each_thing_and_nobody_is_always_first(stage: Stage, player) -> None:
    report = Report("a model", PLAN)
    await measure(report, [player("quietly"), player("other")])
    first = Counter()
    for thing in (Prefill(20), Decode(100, 8), Restore(100, 50)):
        names = [name for name, asked in stage.asked if asked == thing]
        assert Counter(names) == {"quietly": 5, "other": 5}  # a warm-up each
        assert all(len({*pair}) == 2 for pair in zip(names[4::2], names[5::2], strict=True))
        first.update(names[4::2])
    assert set(first) == {"quietly", "other"}
    assert not stage.open


async def test_what_is_short_is_tried_once_before_it_counts_and_what_is_long_is_not(stage: Stage, player) -> None:
    def slow(thing: Thing) -> Sample:
        return Sample(9.0 if isinstance(thing, Prefill) else 1.0)

    await measure(Report("a model", replace(PLAN, longest=1000)), [player("quietly", slow)])
    asked = Counter(thing for _, thing in stage.asked)
    assert asked[Prefill(20)] == PLAN.rounds and asked[Turn(100, 50)] == PLAN.rounds + 1


async def test_the_median_counts_and_the_spread_is_told() -> None:
    figure = Figure([Sample(seconds) for seconds in (2.0, 1.0, 9.0)])
    assert (figure.seconds, figure.spread) == (2.0, 3.5)
    assert (Figure([Sample(2.0)]).seconds, Figure([Sample(2.0)]).spread, Figure().seconds) == (2.0, None, None)


async def test_the_limit_is_the_memory_by_what_a_token_needs(player) -> None:
    report = Report("a model", PLAN)
    await measure(report, [player("quietly"), player("other", at_a_rate(500))])
    mine, others = report.entries
    assert report.bandwidth == 1e9 and report.limit(mine, 100) == 1000
    assert (report.share(mine, 100), report.share(others, 100)) == (1.0, 0.5)
    assert mine.memory == 1100


async def test_only_the_first_moves_memory(stage: Stage, player) -> None:
    await measure(Report("a model", PLAN), [player("quietly"), player("other")])
    assert {name for name, thing in stage.asked if isinstance(thing, Bandwidth)} == {"quietly"}


async def test_what_would_take_too_long_is_left_out_and_said(stage: Stage, player) -> None:
    plan = Plan(prompts=(100, 1000, 10_000), depths=(0, 5000), rounds=2, longest=60)
    report = Report("a model", plan)
    await measure(report, [player("quietly", at_a_rate(10), context=20_000)])
    (entry,) = report.entries
    assert [thing.tokens for _, thing in stage.asked if isinstance(thing, Prefill)] == [100, 100]
    assert entry.figure(Prefill(1000)).why == "it would take about 1 min 40 s"
    assert entry.figure(Decode(0, 64)).samples and not entry.figure(Turn(5000, 50)).samples


async def test_what_took_long_is_not_repeated(stage: Stage, player) -> None:
    report = Report("a model", Plan(prompts=(100,), depths=(), rounds=5, longest=25))
    await measure(report, [player("quietly", lambda thing: Sample(10.0))])
    assert len(report.entries[0].figure(Prefill(100)).samples) == 3


async def test_what_the_model_does_not_hold_is_not_asked(stage: Stage, player) -> None:
    report = Report("a model", Plan(prompts=(10, 500), depths=(0, 450), rounds=1))
    await measure(report, [player("quietly", context=500)])
    assert report.entries[0].figure(Prefill(500)).why == "the model holds 500 tokens"
    assert all(thing in (Prefill(10), Decode(0, 64)) for _, thing in stage.asked if not isinstance(thing, Bandwidth))


async def test_what_someone_cannot_do_is_asked_once(stage: Stage, player) -> None:
    def answer(thing: Thing) -> Sample | Unmeasured:
        return Unmeasured("it keeps no sessions") if isinstance(thing, Restore) else Sample(0.1)

    report = Report("a model", PLAN)
    await measure(report, [player("quietly"), player("other", answer)])
    assert report.entries[1].figure(Restore(100, 50)).why == "it keeps no sessions"
    assert stage.asked.count(("other", Restore(100, 50))) == 1


async def test_who_cannot_begin_is_said_before_anything_is_measured(stage: Stage, player) -> None:
    with pytest.raises(QuietlyError, match="other is not here: bring it"):
        await measure(Report("a model", PLAN), [player("quietly"), player("other", refuses=True)])
    assert not stage.asked and not stage.open


async def test_who_cannot_begin_is_missed_by_nobody_while_another_is_left_to_compare(stage: Stage, player) -> None:
    report = Report("a model", PLAN)
    told: list[tuple[int, int, str]] = []
    makers = [player("quietly"), player("absent", refuses=True), player("other")]
    await measure(report, makers, lambda *step: told.append(step))
    mine, absent, others = report.entries
    assert absent.ended == "absent is not here: bring it." and absent.prepared is None and not absent.figures
    for entry in (mine, others):
        assert all(len(entry.figure(thing).samples) == PLAN.rounds for thing in PLAN.things if length(thing))
    assert told[-1][0] == told[-1][1] - 1 and not report.is_whole and not stage.open


async def test_where_nobody_else_can_begin_each_says_why_and_nothing_is_measured(stage: Stage, player) -> None:
    others = [player("one", refuses=True), player("two", refuses=True)]
    with pytest.raises(QuietlyError, match=r"one is not here: bring it\. two is not here: bring it\."):
        await measure(Report("a model", PLAN), [player("quietly"), *others])
    assert not stage.asked and not stage.open


async def test_without_the_first_nothing_is_compared(stage: Stage, player) -> None:
    with pytest.raises(QuietlyError, match=r"^quietly is not here"):
        await measure(Report("a model", PLAN), [player("quietly", refuses=True), player("one"), player("two")])
    assert not stage.asked and not stage.open


async def test_who_cannot_begin_where_only_one_has_room_leaves_it_to_the_others(stage: Stage, player) -> None:
    report = Report("a model", PLAN, apart=True)
    await measure(report, [player("quietly"), player("absent", refuses=True), player("other")])
    assert [len(entry.figure(Prefill(20)).samples) for entry in report.entries] == [PLAN.rounds, 0, PLAN.rounds]
    assert stage.most == 1 and not stage.open


async def test_who_dies_drops_out_and_the_others_go_on(stage: Stage, player) -> None:
    report = Report("a model", PLAN)
    await measure(report, [player("quietly"), player("other", fatal=Prefill(20))])
    mine, others = report.entries
    assert others.ended == "other died: try again." and others.figure(Prefill(10)).samples
    assert stage.asked.count(("other", Prefill(20))) == 1 and ("other", Decode(0, 8)) not in stage.asked
    assert all(len(mine.figure(thing).samples) == PLAN.rounds for thing in PLAN.things)


async def test_where_there_is_room_for_one_model_never_two_are_open(stage: Stage, player) -> None:
    report = Report("a model", PLAN, apart=True)
    await measure(report, [player("quietly"), player("other")])
    assert stage.most == 1 and not stage.open
    for entry in report.entries:
        assert len(entry.figure(Prefill(20)).samples) == PLAN.rounds
    assert stage.asked.count(("other", Prefill(20))) > PLAN.rounds + 1  # who is opened anew warms up anew


async def test_who_gives_it_up_keeps_what_there_is_and_ends_everyone(stage: Stage, player) -> None:
    reached = asyncio.Event()

    def answer(thing: Thing) -> Sample:
        if isinstance(thing, Decode):
            reached.set()
        return Sample(0.1)

    report = Report("a model", Plan(rounds=1_000_000))
    measuring = asyncio.create_task(measure(report, [player("quietly", answer)], lambda *_: None))
    while not reached.is_set():
        await asyncio.sleep(0)
    measuring.cancel()
    await asyncio.wait([measuring])
    assert measuring.cancelled() and not stage.open
    assert report.entries[0].figure(Prefill(128)).samples


async def test_how_far_it_has_come_is_told(player) -> None:
    told: list[tuple[int, int, str]] = []
    await measure(Report("a model", PLAN), [player("quietly"), player("other")], lambda *step: told.append(step))
    assert [words for *_, words in told[:2]] == ["quietly: opening the model", "other: opening the model"]
    done, totals, words = zip(*told[2:], strict=True)
    assert list(done) == list(range(totals[0])) and set(totals) == {len(told) - 2}
    assert "other: 8 tokens behind 100" in words and "quietly: memory" in words


async def test_how_far_opening_has_come_is_told(stage: Stage, player) -> None:
    class Converting(Player):
        async def prepare(self, progress: Progress) -> Prepared:
            progress(3, 4)
            return await super().prepare(progress)

    told: list[tuple[int, int, str]] = []
    opened = partial(Converting, "quietly", stage, A_THOUSAND)
    await measure(Report("a model", PLAN), [opened], lambda *step: told.append(step))
    assert told[:2] == [(done, 100, "quietly: opening the model") for done in (0, 75)]


def test_each_thing_is_measured_once_and_has_words_of_its_own() -> None:
    things = Plan(prompts=(50, 150, 150), depths=(0, 100, 0), new=50).things
    assert len(things) == len(set(things)) == len({named(thing) for thing in things})
    assert Plan(depths=(0,)).held == 0 and not any(isinstance(thing, Turn) for thing in Plan(depths=(0,)).things)
    assert Plan().most == 4161
