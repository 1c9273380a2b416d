"""What a person can choose about answers, each with what a real engine does for it."""

from pathlib import Path

import pytest

from app.answering import Written, reading_of, sampling_of
from app.engine.client import EngineError
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Finished, Reading, SamplingOptions
from app.generation import GenerationSettings
from tests.app.engine.conftest import HELLO, LONG, end, events, long_conversation, text
from tests.checkpoints import CHATML, reciting_checkpoint
from tests.model.world_vocabulary import reciting_world

GREEDY = GenerationSettings(temperature=0, max_tokens=20)
SILENT = GenerationSettings(thinking=False)
THINKING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think></think>?{% endif %}{% endif %}",
)


async def answered(pool: Pool, model: Path, settings: GenerationSettings, messages=HELLO, session="a") -> Finished:
    """The end of an answer by these settings."""
    asked = {"sampling": sampling_of(settings), "reading": reading_of(settings), "max_tokens": settings.max_tokens}
    return end(await events(pool.ask(model, messages, session=session, **asked)))


async def counted(pool: Pool, model: Path, settings: GenerationSettings, messages=HELLO, session="a"):
    return await pool.count(model, messages, session=session, reading=reading_of(settings))


def over(settings: GenerationSettings, **changes) -> GenerationSettings:
    return GenerationSettings(**changes).over(settings)


# --- how tokens are drawn -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("narrowed", [{"top_k": 1}, {"top_p": 0}, {"min_p": 1}])
async def test_filters_that_leave_one_token_make_any_temperature_greedy(pool, tiny, narrowed):
    wild = GenerationSettings(temperature=3, seed=1, max_tokens=20)
    likeliest = await answered(pool, tiny, GREEDY)
    assert (await answered(pool, tiny, wild)).token_ids != likeliest.token_ids
    assert (await answered(pool, tiny, over(wild, **narrowed))).token_ids == likeliest.token_ids


@pytest.mark.parametrize(
    ("name", "strong"), [("repetition_penalty", 10), ("presence_penalty", 2), ("frequency_penalty", 2)]
)
async def test_a_penalty_keeps_what_was_there_from_coming_again(pool, tiny, name, strong):
    def again(finished: Finished) -> int:
        return len(finished.token_ids) - len(set(finished.token_ids))

    plain, penalised = [await answered(pool, tiny, over(GREEDY, **more)) for more in ({}, {name: strong})]
    assert again(penalised) < again(plain)


async def test_a_repeat_with_the_same_seed_is_identical_also_in_its_own_session(pool, tiny):
    seeded = GenerationSettings(temperature=1, seed=7, max_tokens=20)
    first, again, fresh = [(await answered(pool, tiny, seeded, session=key)).token_ids for key in ("a", "a", "b")]
    assert first == again == fresh
    assert (await answered(pool, tiny, over(seeded, seed=8))).token_ids != first


async def test_the_longest_answer_is_as_long_as_allowed_and_says_why_it_ended(pool, tiny):
    finished = await answered(pool, tiny, over(GREEDY, max_tokens=4))
    assert (finished.completion_tokens, finished.reason) == (4, "length")


async def test_a_world_model_ends_before_it_speaks_for_the_person_and_is_drawn_from_as_its_author_does(pool, tmp_path):
    goose = reciting_world(tmp_path / "goose")
    said = await events(pool.ask(goose, HELLO, session="a", sampling=SamplingOptions(temperature=0)))
    assert (text(said), end(said).reason) == ("Hi there!", "stop")
    own = pool.loaded(goose).sampling
    assert (own.temperature, own.top_p) == (1.0, 0.85)
    assert (own.presence_penalty, own.frequency_penalty, own.penalty_decay) == (0.2, 0.2, 0.996)


# --- how much is read -----------------------------------------------------------------------------------------------


async def test_a_smaller_context_leaves_more_out_and_a_larger_one_takes_it_back(pool, tiny):
    whole = await answered(pool, tiny, GREEDY, long_conversation(3))
    assert whole.dropped_messages == 0
    for context in (1024, 512, 1024, 4096, 1_000_000):
        settings = over(GREEDY, context=context)
        count = await counted(pool, tiny, settings, long_conversation(3))
        finished = await answered(pool, tiny, settings, long_conversation(3))
        assert (count.tokens, count.dropped_messages) == (finished.prompt_tokens, finished.dropped_messages)
        assert count.context == min(context, 4096)
        if context < whole.prompt_tokens:
            assert finished.dropped_messages > 0 and finished.prompt_tokens <= context * 3 / 4
        else:
            assert (finished.dropped_messages, finished.prompt_tokens) == (0, whole.prompt_tokens)


async def test_another_context_costs_nothing_of_what_was_read(pool, tiny):
    read = await answered(pool, tiny, GREEDY, LONG)
    for context in (3500, 4096, 3000):
        again = await answered(pool, tiny, over(GREEDY, context=context), LONG)
        assert again.token_ids == read.token_ids and again.reused_tokens >= read.prompt_tokens - 1


async def test_an_answer_ends_where_the_context_that_was_chosen_does(pool, tiny):
    await answered(pool, tiny, GREEDY)
    for context in (280, 256, 270):
        finished = await answered(pool, tiny, GenerationSettings(temperature=0, context=context))
        assert finished.reason == "context"
        assert finished.prompt_tokens + finished.completion_tokens == context


async def test_a_full_context_may_end_the_conversation(pool, tiny):
    strict = over(GREEDY, context=1024, overflow="stop")
    for ask in (answered, counted):
        with pytest.raises(EngineError, match=r"tokens long and the context holds 1,024; choose a longer") as raised:
            await ask(pool, tiny, strict, long_conversation(3))
        assert raised.value.kind == "context"
    assert (await counted(pool, tiny, over(strict, context=4096), long_conversation(3))).dropped_messages == 0


async def test_what_rolls_goes_on_beyond_its_window_and_sees_no_further(pool, tiny):
    """Two questions that differ far back: to the window they are the same, to the whole context they are not."""
    rolling = over(GREEDY, context=256, overflow="rolling")
    asked = [[ChatMessage("user", begin * 100 + "and so on, " * 100)] for begin in ("a", "b")]
    finished = [await answered(pool, tiny, rolling, messages) for messages in asked]
    assert finished[0].prompt_tokens > 1024 and finished[0].dropped_messages == 0
    assert finished[0].token_ids == finished[1].token_ids and finished[0].reason == "length"
    count = await counted(pool, tiny, rolling, asked[0])
    assert (count.tokens, count.context) == (finished[0].prompt_tokens, 4096)

    async def chances(settings: GenerationSettings) -> list[list[float]]:
        answer = ChatMessage("assistant", "", finished[0].token_ids, pool.loaded(tiny).fingerprint)
        drawn = {"sampling": sampling_of(settings), "reading": reading_of(settings)}
        found = [await pool.candidates(tiny, [*begun, answer], 0, session="c", **drawn) for begun in asked]
        return [[one.probability for one in each.candidates[:5]] for each in found]

    rolled, whole = await chances(rolling), await chances(GREEDY)
    assert rolled[0] == rolled[1] and whole[0] != whole[1]


async def test_after_rolling_the_next_answer_is_exact(pool, tiny):
    expected = await answered(pool, tiny, GREEDY, LONG, session="fresh")
    for settings in (over(GREEDY, context=256, overflow="rolling"), GREEDY, over(GREEDY, context=3000)):
        finished = await answered(pool, tiny, settings, LONG)
    assert finished.token_ids == expected.token_ids


async def test_a_context_that_holds_nothing_is_refused(pool, tiny):
    await pool.load(tiny)
    for ask in (answered, counted):
        with pytest.raises(EngineError, match="context of 0 tokens holds nothing") as raised:
            await ask(pool, tiny, GenerationSettings(context=0))
        assert raised.value.kind == "request"


# --- thinking -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pensive(tmp_path_factory) -> Path:
    """A checkpoint that reasons before its answer unless its template is told to keep it from that."""
    recited = (b"<th", b"ink>", b"Let me see", b"</", b"think>", b"Well", b"?", b" Yes")
    return reciting_checkpoint(tmp_path_factory.mktemp("pensive") / "pensive", *recited, template=THINKING)


async def test_a_model_reasons_unless_it_is_told_not_to(pool, tiny, pensive):
    assert not (await pool.load(tiny)).thinking
    assert (await pool.load(pensive)).thinking
    told = {}
    for thinking in (None, True, False):
        written = Written()
        for event in await events(
            pool.ask(
                pensive, HELLO, session="a", sampling=SamplingOptions(temperature=0), reading=Reading(thinking=thinking)
            )
        ):
            written.take(event)
        told[thinking] = written.reasoning, written.answer
    assert told == {None: ("Let me see", "Well? Yes"), True: ("Let me see", "Well? Yes"), False: ("", " Yes")}


async def test_a_count_and_a_look_around_read_what_an_answer_without_reasoning_did(pool, pensive):
    settings = over(SILENT, temperature=0)
    finished = await answered(pool, pensive, settings)
    assert (await counted(pool, pensive, settings)).tokens == finished.prompt_tokens
    assert finished.prompt_tokens == (await counted(pool, pensive, GREEDY)).tokens + len("<think></think>?")
    answer = ChatMessage("assistant", "", finished.token_ids, pool.loaded(pensive).fingerprint)
    found = await pool.candidates(
        pensive, [*HELLO, answer], 0, session="b", sampling=sampling_of(settings), reading=reading_of(settings)
    )
    assert found.candidates[0].token == finished.token_ids[0]


async def test_a_model_without_the_choice_answers_all_the_same(pool, tiny):
    likeliest = await answered(pool, tiny, GREEDY)
    assert (await answered(pool, tiny, over(GREEDY, thinking=False))).token_ids == likeliest.token_ids
