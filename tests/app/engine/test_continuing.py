"""Answers that go on, what they could have said instead, and how much fits: asked of a real worker process."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from app.answering import Written
from app.engine.client import EngineError
from app.engine.protocol import ChatMessage, Delta, Progress, Restated, SamplingOptions
from tests.app.engine.conftest import HELLO, LONG, end, events, long_conversation, text
from tests.checkpoints import CHATML, reciting_checkpoint, speaking_checkpoint

GREEDY = SamplingOptions(temperature=0)
RECITED = (
    *(b"<th", b"ink>", b"\n\n", b"Let me", b"\xf0", b"\x9f", b"\xa6", b"\xa9", b" see", b"</", b"think>", b"\n\n\n"),
    *(b"caf", b"\xc3", b"\xbc", b"?", b" well"),
)


@pytest.fixture(scope="module")
def reciting(tmp_path_factory):
    """A checkpoint that reasons and answers in characters of several tokens, always the same."""
    return reciting_checkpoint(tmp_path_factory.mktemp("reciting") / "reciting", *RECITED)


def said(seen: Sequence, facts) -> ChatMessage:
    """The answer that these events amount to, as the next request tells it."""
    return ChatMessage("assistant", written(seen).answer, end(seen).token_ids, facts.fingerprint)


def written(seen: Sequence, begun: Written | None = None) -> Written:
    told = begun or Written()
    for event in seen:
        told.take(event)
    return told


# --- going on -------------------------------------------------------------------------------------------------------


async def test_an_answer_stopped_anywhere_goes_on_as_if_it_never_was(pool, reciting):
    whole = await events(pool.ask(reciting, HELLO, session="whole", sampling=GREEDY))
    expected, facts = written(whole), pool.loaded(reciting)
    assert (expected.reasoning, expected.answer) == ("Let me🦩 see", "cafü? well")
    for stop in range(1, len(RECITED)):
        first = await events(pool.ask(reciting, HELLO, session="a", sampling=GREEDY, max_tokens=stop))
        rest = await events(pool.ask(reciting, [*HELLO, said(first, facts)], session="a", sampling=GREEDY))
        told = written(rest, written(first))
        assert (told.reasoning, told.answer) == (expected.reasoning, expected.answer)
        finished = end(rest)
        assert finished.token_ids == end(whole).token_ids
        assert finished.completion_tokens == len(RECITED) - stop
        assert finished.prompt_tokens == end(whole).prompt_tokens + stop
        assert finished.reused_tokens >= finished.prompt_tokens - 2


async def test_what_it_says_already_comes_before_any_new_word(pool, tiny):
    facts = await pool.load(tiny)
    begun = [*HELLO, ChatMessage("assistant", "ignored", (65, 66, 67), facts.fingerprint)]
    seen = await events(pool.ask(tiny, begun, session="a", max_tokens=3))
    kinds = [type(event) for event in seen]
    assert kinds.count(Restated) == 1 and Delta not in kinds[: kinds.index(Restated)]
    assert isinstance(seen[0], Progress) and kinds.index(Restated) == 1
    assert end(seen).token_ids[:3] == (65, 66, 67)
    assert not any(
        isinstance(event, Restated) for event in await events(pool.ask(tiny, HELLO, session="b", max_tokens=3))
    )


async def test_words_whose_tokens_are_another_models_are_read_anew(pool, tiny):
    begun = [*HELLO, ChatMessage("assistant", "So <|im_end|> be", (1, 2), "another's")]
    seen = await events(pool.ask(tiny, begun, session="a", sampling=GREEDY, max_tokens=3))
    (restated,) = [event for event in seen if isinstance(event, Restated)]
    assert (restated.answer, restated.reasoning) == ("So <|im_end|> be", "")
    assert len(end(seen).token_ids) == len("So <|im_end|> be") + end(seen).completion_tokens


async def test_reasoning_that_the_template_opens_is_closed_before_a_persons_words(pool, tmp_path):
    template = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    opening = speaking_checkpoint(tmp_path / "opening", template)
    begun = [*HELLO, ChatMessage("assistant", "It is so")]
    told = written(await events(pool.ask(opening, begun, session="a", sampling=GREEDY, max_tokens=4)))
    assert told.answer.startswith("It is so") and told.reasoning == ""


async def test_an_answer_cut_by_the_context_goes_on_without_what_is_oldest(pool, tiny):
    facts = await pool.load(tiny)
    turns = [ChatMessage("user", "a" * 1500), ChatMessage("assistant", "b" * 1500), ChatMessage("user", "c" * 960)]
    cut = await events(pool.ask(tiny, turns, session="a", sampling=GREEDY))
    assert end(cut).reason == "context"
    seen = await events(pool.ask(tiny, [*turns, said(cut, facts)], session="a", sampling=GREEDY, max_tokens=9))
    assert end(seen).dropped_messages == 2
    assert end(seen).token_ids[: len(end(cut).token_ids)] == end(cut).token_ids
    assert end(seen).completion_tokens == 9


async def test_one_that_fills_the_context_alone_is_told_so(pool, tiny):
    facts = await pool.load(tiny)
    full = ChatMessage("assistant", "b", (66,) * 4090, facts.fingerprint)
    with pytest.raises(EngineError, match="no room to go on") as raised:
        await events(pool.ask(tiny, [*HELLO, full], session="a"))
    assert raised.value.kind == "context"


async def test_stopped_while_it_is_read_again_it_is_what_it_was(pool, tiny):
    facts = await pool.load(tiny)
    begun = [*LONG, ChatMessage("assistant", "abc", (65, 66, 67), facts.fingerprint)]
    turn = pool.ask(tiny, begun, session="a", max_tokens=4000)
    seen = []
    async for event in turn:
        seen.append(event)
        turn.stop()
    assert end(seen).reason == "cancelled"
    assert end(seen).token_ids[:3] == (65, 66, 67)
    assert written(seen).answer.startswith(written([event for event in seen if isinstance(event, Restated)]).answer)


# --- counting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 8, 20])
async def test_a_count_with_a_session_is_what_would_be_read_and_changes_nothing(pool, tiny, turns):
    facts = await pool.load(tiny)
    for conversation in (long_conversation(turns), long_conversation(turns + 1)):
        counted = [await pool.count(tiny, conversation, session="a") for _ in range(2)]
        finished = end(await events(pool.ask(tiny, conversation, session="a", max_tokens=2)))
        for count in counted:
            assert count.tokens == finished.prompt_tokens and count.dropped_messages == finished.dropped_messages
            assert count.context == facts.context
    whole = await pool.count(tiny, long_conversation(turns))
    assert (whole.dropped_messages, whole.context) == (0, 4096)
    assert whole.tokens >= (await pool.count(tiny, long_conversation(turns), session="a")).tokens


async def test_a_count_of_what_never_fits_says_so(pool, tiny):
    await pool.load(tiny)
    with pytest.raises(EngineError, match="too long") as raised:
        await pool.count(tiny, [ChatMessage("user", "x" * 5000)], session="a")
    assert raised.value.kind == "context"
    assert (await pool.count(tiny, [ChatMessage("user", "x" * 5000)])).tokens > 5000


async def test_a_conversation_of_200_messages_is_counted_while_an_answer_is_written(pool, tiny):
    """Five times a second while a person types: a count may take a small part of that."""
    await pool.load(tiny)
    conversation = [
        message for turn in range(100) for message in (ChatMessage("user", f"{turn}?"), ChatMessage("assistant", "yes"))
    ]
    turn, seconds = pool.ask(tiny, HELLO, session="a", max_tokens=4000), []
    async for event in turn:
        if isinstance(event, Delta):
            started = time.perf_counter()
            await pool.count(tiny, [*conversation, ChatMessage("user", "w" * len(seconds))], session="b")
            seconds.append(time.perf_counter() - started)
            if len(seconds) == 10:
                turn.stop()
    assert sorted(seconds)[len(seconds) // 2] < 0.1


async def test_an_earlier_point_of_a_conversation_has_all_that_fits_there(pool, tiny):
    late = end(await events(pool.ask(tiny, long_conversation(9), session="a", max_tokens=2)))
    assert late.dropped_messages > 4
    early = long_conversation(2)
    assert end(await events(pool.ask(tiny, early, session="a", max_tokens=2))).dropped_messages == 0


# --- candidates and pieces ------------------------------------------------------------------------------------------


async def test_the_pieces_of_an_answer_are_its_text(pool, reciting):
    finished = end(await events(pool.ask(reciting, HELLO, session="a", sampling=GREEDY)))
    pieces = await pool.pieces(reciting, finished.token_ids)
    assert len(pieces) == len(finished.token_ids)
    assert "".join(pieces) == b"".join(RECITED).decode()
    assert pieces[4:8] == ("", "", "", "🦩")


async def test_at_every_place_the_chosen_token_is_the_most_likely_one_of_a_greedy_answer(pool, tiny):
    finished = end(await events(pool.ask(tiny, HELLO, session="a", sampling=GREEDY, max_tokens=12)))
    answer = ChatMessage("assistant", "", finished.token_ids, pool.loaded(tiny).fingerprint)
    for place, token in enumerate(finished.token_ids):
        found = await pool.candidates(tiny, [*HELLO, answer], place, session="a", sampling=GREEDY)
        assert found.chosen == found.candidates[0].token == token
        assert (found.kept, found.kept_mass, found.candidates[0].share) == (1, 1, 1)
        assert all(one.share == 0 for one in found.candidates[1:])


async def test_candidates_are_what_an_answer_is_drawn_from(pool, tiny):
    finished = end(await events(pool.ask(tiny, HELLO, session="a", sampling=GREEDY, max_tokens=3)))
    answer = ChatMessage("assistant", "", finished.token_ids, pool.loaded(tiny).fingerprint)
    sampling = SamplingOptions(temperature=0.9, top_k=3, repetition_penalty=1.2)
    found = await pool.candidates(tiny, [*HELLO, answer], 2, session="a", sampling=sampling)
    kept = {one.token: one for one in found.candidates if one.share}
    assert found.kept == len(kept) == 3 and sum(one.share for one in kept.values()) == pytest.approx(1, abs=1e-4)
    assert 0 < found.kept_mass < 1
    begun = ChatMessage("assistant", "", finished.token_ids[:2], answer.model)
    for seed in range(12):
        seeded = SamplingOptions(temperature=0.9, top_k=3, repetition_penalty=1.2, seed=seed)
        drawn = end(await events(pool.ask(tiny, [*HELLO, begun], session="a", sampling=seeded, max_tokens=1)))
        assert drawn.token_ids[2:] == () or drawn.token_ids[2] in kept


async def test_a_neighbour_of_the_last_place_costs_one_step(pool, tiny):
    finished = end(await events(pool.ask(tiny, LONG, session="a", sampling=GREEDY, max_tokens=20)))
    answer = ChatMessage("assistant", "", finished.token_ids, pool.loaded(tiny).fingerprint)
    read = []
    for place in (19, 18, 17, 18, 19, 0):
        seen = []
        await pool.candidates(tiny, [*LONG, answer], place, session="a", progress=seen.append)
        read.append(seen[-1].total)
    assert read == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("shape", [{}, {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 0}])
async def test_after_candidates_the_next_answer_is_exact(pool, tmp_path, shape):
    checkpoint = speaking_checkpoint(tmp_path / "shape", **shape)
    first = await events(pool.ask(checkpoint, HELLO, session="a", sampling=GREEDY, max_tokens=30))
    answer = said(first, pool.loaded(checkpoint))
    following = [*HELLO, answer, ChatMessage("user", "and?")]
    expected = end(await events(pool.ask(checkpoint, following, session="fresh", sampling=GREEDY, max_tokens=15)))
    for place in (29, 3, 4, 17, 0):
        await pool.candidates(checkpoint, [*HELLO, answer], place, session="a")
        seen = await events(pool.ask(checkpoint, following, session="a", sampling=GREEDY, max_tokens=15))
        assert end(seen).token_ids == expected.token_ids


async def test_half_a_character_is_told_as_a_candidate(pool, reciting):
    finished = end(await events(pool.ask(reciting, HELLO, session="a", sampling=GREEDY)))
    answer = ChatMessage("assistant", "", finished.token_ids, pool.loaded(reciting).fingerprint)
    texts = [
        (await pool.candidates(reciting, [*HELLO, answer], place, session="a", sampling=GREEDY)).candidates[0].text
        for place in (3, 4, 7)
    ]
    assert texts == ["Let me", "\ufffd", "🦩"]


@pytest.mark.parametrize(
    ("answer", "place", "says"),
    [
        (ChatMessage("assistant", "abc", (65, 66), "another's"), 0, "choose the model that wrote it"),
        (ChatMessage("assistant", "abc"), 0, "choose the model that wrote it"),
        (ChatMessage("user", "abc"), 0, "choose the model that wrote it"),
        (ChatMessage("assistant", "abc", (65, 66), "own"), 2, "no token 2: it has 2"),
        (ChatMessage("assistant", "abc", (65, 66), "own"), -1, "no token -1"),
        (ChatMessage("assistant", "abc", (65, 66, 70_000), "own"), 2, "Token 70000 is not one of"),
    ],
)
async def test_candidates_of_what_was_never_written_are_refused(pool, tiny, answer, place, says):
    facts = await pool.load(tiny)
    own = answer.model == "own"
    told = ChatMessage(answer.role, answer.content, answer.token_ids, facts.fingerprint if own else answer.model)
    with pytest.raises(EngineError, match=says) as raised:
        await pool.candidates(tiny, [*HELLO, told], place, session="a")
    assert raised.value.kind == "request"
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=3)))


async def test_whoever_gives_up_on_candidates_leaves_the_engine_free(pool, tiny):
    facts = await pool.load(tiny)
    answer = ChatMessage("assistant", "", (65,) * 900, facts.fingerprint)
    asked = asyncio.Event()
    task = asyncio.create_task(
        pool.candidates(tiny, [*LONG, answer], 899, session="a", progress=lambda progress: asked.set())
    )
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await pool.candidates(tiny, [*HELLO, answer], 5, session="a")
    assert found.chosen == 65


# --- beside a conversation ------------------------------------------------------------------------------------------


async def test_a_title_that_is_given_up_leaves_every_conversation_as_it_was(pool, tiny):
    sessions = ["a", "b", "c", "d"]
    firsts = {
        key: end(await events(pool.ask(tiny, LONG, session=key, sampling=GREEDY, max_tokens=5))) for key in sessions
    }
    answer, waiting = pool.ask(tiny, LONG, session="a", sampling=GREEDY, max_tokens=4000), None
    async for event in answer:
        if isinstance(event, Delta) and waiting is None:
            title = pool.ask(tiny, HELLO, session="title", max_tokens=16)
            waiting = asyncio.create_task(events(title))
        elif isinstance(event, Delta):  # it has had its chance to be asked, and has to wait for the answer's end
            title.stop()
            answer.stop()
    given_up = end(await waiting)
    assert (given_up.reason, given_up.completion_tokens) == ("cancelled", 0)
    title, writing = pool.ask(tiny, HELLO, session="title", max_tokens=4000), []
    async for heard in title:
        writing.append(heard)
        if isinstance(heard, Delta):
            title.stop()
    assert end(writing).reason == "cancelled"
    pool.forget("title")
    for key in sessions:
        again = end(await events(pool.ask(tiny, LONG, session=key, sampling=GREEDY, max_tokens=5)))
        assert again.token_ids == firsts[key].token_ids
        assert again.reused_tokens >= again.prompt_tokens - 1
    assert end(await events(pool.ask(tiny, HELLO, session="title", max_tokens=2))).reused_tokens == 0
