"""What a person finds again after a restart, a kill, a deletion: real workers, real files."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from app import kept
from app.engine.client import Engine
from app.engine.policy import Appraisal
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Delta, Generate, Keeping, Progress, SamplingOptions
from app.settings import Paths
from tests.app.engine.conftest import HELLO, end, events, is_running, only_engine, text
from tests.checkpoints import speaking_checkpoint
from tests.waiting import PATIENCE, until

READ = [ChatMessage("user", "many words, again and again. " * 10)]
GREEDY = SamplingOptions(temperature=0)
HERE = "conversation-1"
AT_ONCE, AT_THE_END = Keeping(disk=1 << 30, worth=0, rest=0), Keeping(disk=1 << 30, worth=0, rest=1000)
"""What is written as soon as nothing is asked; what is written when the engine is told to end."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with heads that can be packed."""
    folder = tmp_path_factory.mktemp("packed") / "tiny"
    return speaking_checkpoint(folder, hidden_size=64, num_attention_heads=2, num_key_value_heads=1)


def pool_of(places: Paths, keeping: Keeping, **others) -> Pool:
    return Pool(places, memory=16 * 1024**3, keeping=lambda: keeping, **others)


def asked(pool: Pool, model: Path, messages: Sequence[ChatMessage], session: str = HERE, most: int = 12):
    return pool.ask(model, messages, session=session, sampling=GREEDY, max_tokens=most)


async def one_answer(
    places: Paths, keeping: Keeping, model: Path, messages: Sequence[ChatMessage], session: str = HERE
) -> tuple[list, list[ChatMessage]]:
    """What a program that asks once and ends is told, and the conversation as it stands then."""
    pool = pool_of(places, keeping)
    try:
        seen = await events(asked(pool, model, messages, session))
        said = ChatMessage("assistant", text(seen), end(seen).token_ids, pool.loaded(model).fingerprint)
        return seen, [*messages, said]
    finally:
        await pool.close()


async def test_a_conversation_goes_on_after_a_restart_without_being_read_again(places, tiny):
    first, conversation = await one_answer(places, AT_THE_END, tiny, READ)
    conversation += HELLO
    second, _ = await one_answer(places, AT_THE_END, tiny, conversation)
    stages = [event.stage for event in second if isinstance(event, Progress)]
    assert stages.index("restore") < len(stages) - 1 - stages[::-1].index("prefill")  # then only what is new
    assert end(second).reused_tokens >= end(first).prompt_tokens + len(end(first).token_ids) - 1
    assert end(second).first_token_seconds > 0


async def test_a_kill_costs_little_where_there_was_a_moment_of_rest(places, tiny):
    pool = pool_of(places, AT_ONCE)
    first = end(await events(asked(pool, tiny, READ)))
    await until(lambda: bool(kept.kept(places.sessions)))
    os.kill(only_engine(pool).pid, signal.SIGKILL)
    await until(lambda: not pool.warm())
    again = end(await events(asked(pool, tiny, [*READ[:-1], ChatMessage("user", READ[-1].content + " more")])))
    assert again.reused_tokens > first.prompt_tokens // 2
    await pool.close()


@pytest.mark.soak
async def test_a_window_that_dies_while_an_answer_is_written_leaves_what_was_read(places, tiny):
    pool = pool_of(places, AT_THE_END)
    async for event in asked(pool, tiny, READ, most=4000):
        if isinstance(event, Delta):
            break
    engine = only_engine(pool)
    engine._process.stdin.close()
    await until(lambda: not is_running(engine.pid))
    assert [one.session for one in kept.kept(places.sessions)] == [HERE]
    await pool.close()


@pytest.mark.soak
async def test_an_engine_that_nobody_hears_any_more_still_keeps_what_it_read(places, tiny):
    engine = await Engine.start(places)
    await engine.load(tiny, places.conversions)
    places.sessions.mkdir(parents=True)
    engine.keep(Keeping(folder=str(places.sessions), disk=1 << 30, worth=0, rest=1000))
    question = Generate(0, session=HERE, messages=tuple(READ), max_tokens=4000)
    async with engine.generate(question) as request:
        while not isinstance(await request.reply(), Delta):
            pass
        # As when the window is killed: the pipes close, both of them.
        engine._process._transport.get_pipe_transport(1).close()
        engine._process.stdin.close()
    await asyncio.wait_for(engine._process.wait(), PATIENCE)
    assert [one.session for one in kept.kept(places.sessions)] == [HERE]


@pytest.mark.parametrize(
    "keeping", [pytest.param(AT_ONCE, id="at rest", marks=pytest.mark.soak), pytest.param(AT_THE_END, id="at the end")]
)
async def test_a_forgotten_conversation_is_nowhere(places, tiny, keeping):
    pool = pool_of(places, keeping)
    for session in (HERE, "conversation-2"):
        await events(asked(pool, tiny, READ, session))
    if keeping is AT_ONCE:
        await until(lambda: len(kept.kept(places.sessions)) == 2)
    pool.forget(HERE)
    assert HERE not in {one.session for one in kept.kept(places.sessions)}
    await pool.close()
    assert {one.session for one in kept.kept(places.sessions)} == {"conversation-2"}
    await pool_of(places, keeping).close()


@pytest.mark.soak
async def test_what_is_forgotten_while_its_engine_ends_is_not_left_behind(places, tiny):
    pool = pool_of(places, AT_THE_END)
    await events(asked(pool, tiny, READ))
    ending = asyncio.create_task(pool.unload(tiny))
    await asyncio.sleep(0)  # told to end; it writes what it has read
    pool.forget(HERE)
    asked(pool, tiny, HELLO)  # at once again, of what is left
    await ending
    assert kept.kept(places.sessions) == []
    await pool.close()


@pytest.mark.soak
async def test_what_is_asked_again_after_its_deletion_was_undone_is_kept_again(places, tiny):
    pool = pool_of(places, AT_THE_END)
    await events(asked(pool, tiny, READ))
    pool.forget(HERE)
    await events(asked(pool, tiny, READ))
    await pool.close()
    assert [one.session for one in kept.kept(places.sessions)] == [HERE]


@pytest.mark.soak
async def test_a_conversation_without_an_engine_is_forgotten_too(places, tiny):
    await one_answer(places, AT_THE_END, tiny, READ)
    assert kept.kept(places.sessions)
    pool = pool_of(places, AT_THE_END)
    pool.forget(HERE)
    assert kept.kept(places.sessions) == []
    await pool.close()


@pytest.mark.soak
async def test_nothing_of_a_temporary_conversation_or_a_title_reaches_the_disk(places, tiny):
    pool = pool_of(places, AT_THE_END)
    for session in ("temporary-1099511627777", "title", "empty page"):
        await events(asked(pool, tiny, READ, session))
    await pool.close()
    assert list(places.sessions.iterdir()) == []


@pytest.mark.soak
async def test_switched_off_nothing_is_kept_and_a_running_engine_hears_of_it(places, tiny):
    keeping = [AT_THE_END]
    pool = Pool(places, memory=16 * 1024**3, keeping=lambda: keeping[0])
    await events(asked(pool, tiny, READ))
    keeping[0] = Keeping(disk=0)
    pool.look_after()
    await pool.close()
    assert kept.kept(places.sessions) == []


@pytest.mark.soak
async def test_an_engine_hears_what_to_keep_though_another_was_loaded_since(places, tiny, others):
    keeping = [AT_THE_END]
    pool = Pool(places, memory=64 * 1024**3, keeping=lambda: keeping[0])
    await events(asked(pool, tiny, READ))
    keeping[0] = Keeping(disk=0)
    await pool.load(others[0])
    assert len(pool.warm()) == 2
    pool.look_after()
    await pool.close()
    assert kept.kept(places.sessions) == []


@pytest.mark.soak
async def test_sessions_take_what_the_appraisal_leaves_them(places, tiny):
    for spare, reused in ((0, False), (1 << 30, True)):
        pool = pool_of(places, Keeping(), appraise=lambda checkpoint, held, spare=spare: Appraisal(sessions=spare))
        await events(asked(pool, tiny, READ, "conversation-1"))
        await events(asked(pool, tiny, READ, "conversation-2"))
        again = end(await events(asked(pool, tiny, READ, "conversation-1")))
        assert (again.reused_tokens > 0) is reused
        await pool.close()


@pytest.mark.soak
async def test_a_worker_that_is_stuck_is_still_ended_within_a_second_or_two(places, tiny):
    pool = pool_of(places, AT_THE_END)
    await events(asked(pool, tiny, READ))
    pid = only_engine(pool).pid
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(3):
        await pool.close()
    assert not is_running(pid)


@pytest.mark.soak
async def test_stopping_while_a_session_is_restored_ends_the_answer(places, tiny):
    _, conversation = await one_answer(places, AT_THE_END, tiny, READ)
    pool = pool_of(places, AT_THE_END)
    await pool.load(tiny)
    turn = asked(pool, tiny, [*conversation, *HELLO], most=4000)
    seen = []
    async for event in turn:
        seen.append(event)
        if isinstance(event, Progress) and event.stage == "restore":
            turn.stop()
    assert turn._stopped and end(seen).reason == "cancelled"
    await pool.close()
