"""Which engines run: warm ones within their room, idle ones and those in the way ended, too big ones never begun.

Real workers with real models; what the machine has and how time passes is told by the test.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.engine import client
from app.engine import pool as pools
from app.engine.client import Engine, EngineError
from app.engine.policy import Appraisal
from app.engine.pool import Pool, room_of
from tests.app.engine.conftest import HELLO, LONG, begun, end, events, is_running, only_engine, text
from tests.waiting import PATIENCE, until

GIB = 1024**3
TOO_BIG = Appraisal(need=90 * GIB, refusal="It takes about 90 GiB: choose fewer bits.")


class World:
    """What a pool is told of the machine and of the time."""

    def __init__(self) -> None:
        self.now, self.shortage = 100.0, "none"
        self.appraisal = Appraisal(need=GIB, room=GIB)
        self.appraised: list[tuple[Path, int]] = []
        self.moved: list[Path] = []

    def appraise(self, checkpoint: Path, held: int) -> Appraisal:
        self.appraised.append((checkpoint, held))
        return self.appraisal


@pytest.fixture
def world() -> World:
    return World()


@pytest_asyncio.fixture
async def pool(places, world) -> AsyncIterator[Pool]:
    """A pool in `world`, where one model may stay beside another and go after a minute."""
    pool = Pool(
        places,
        appraise=world.appraise,
        unload_after=lambda: 60,
        shortage=lambda: world.shortage,
        clock=lambda: world.now,
    )
    pool.on_change = world.moved.append
    yield pool
    await pool.close()


@pytest.fixture
def started(monkeypatch) -> list[Engine]:
    """Every engine that is started."""
    engines, start = [], Engine.start

    async def note(places) -> Engine:
        engines.append(await start(places))
        return engines[-1]

    monkeypatch.setattr(Engine, "start", note)
    return engines


# --- room -----------------------------------------------------------------------------------------------------------


async def test_what_was_used_lately_stays_and_what_was_not_is_gone_before_the_next_loads(pool, world, tiny, others):
    await pool.load(tiny)
    world.now += 1
    await pool.load(others[0])
    idle = pool._engines[others[0]].engine.pid
    world.now += 1
    await pool.pieces(tiny, [1])
    assert pool.warm() == (tiny, others[0])
    held = sum(pool.loaded(path).memory for path in (tiny, others[0]))
    world.now += 1
    running: list[bool] = []
    await pool.load(others[1], lambda progress: running.append(is_running(idle)))
    assert running and not any(running)
    assert pool.warm() == (others[1], tiny)
    assert world.appraised == [(tiny, 0), (others[0], pool.loaded(tiny).memory), (others[1], held)]
    assert world.moved == [tiny, others[0], others[0], others[1]]


async def test_a_model_that_does_not_fit_beside_an_answer_waits_for_its_end(pool, world, tiny, others):
    world.appraisal = Appraisal(need=GIB, room=0)
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    writing = await begun(turn)
    told: list[str] = []
    waiting = asyncio.create_task(pool.load(others[0], lambda progress: told.append(progress.stage)))
    for _ in range(5):
        await anext(writing)
    assert pool.warm() == (tiny,) and not waiting.done()
    late: list[str] = []
    joining = asyncio.create_task(pool.load(others[0], lambda progress: late.append(progress.stage)))
    await until(lambda: bool(late))
    assert set(told) == set(late) == {"wait"}
    turn.stop()
    assert end([event async for event in writing]).reason == "cancelled"
    await asyncio.gather(waiting, joining)
    assert pool.warm() == (others[0],) and told[-1] == late[-1] == "load"


async def test_a_model_that_waits_until_another_is_loaded_says_so(pool, tiny, others):
    told: list[tuple[str, str]] = []
    await asyncio.gather(
        *(pool.load(path, lambda seen, path=path: told.append((path.name, seen.stage))) for path in (tiny, others[0]))
    )
    stages = [stage for name, stage in told if name == others[0].name]
    assert stages[:2] == ["wait", "load"] and (tiny.name, "wait") not in told


async def test_two_answers_at_once_both_come_where_one_model_fits(pool, world, tiny, others):
    world.appraisal = Appraisal(need=GIB, room=0)
    asked = [pool.ask(model, HELLO, session="a", max_tokens=5) for model in (tiny, others[0])]
    assert all(text(seen) for seen in await asyncio.gather(*map(events, asked)))
    assert len(pool.warm()) == 1


async def test_giving_up_on_a_load_does_not_give_up_on_getting_memory_back(pool, world, tiny, others):
    world.appraisal = Appraisal(need=GIB, room=0)
    await pool.load(tiny)
    slow = only_engine(pool).pid
    os.kill(slow, signal.SIGSTOP)  # it does not hear that it is to end
    first = asyncio.create_task(pool.load(others[0]))
    await until(lambda: pool.warm() == ())
    first.cancel()
    await asyncio.wait([first])
    await pool.load(others[1])
    assert not is_running(slow)


@pytest.mark.parametrize(("memory", "room"), [(8 * GIB, 0), (16 * GIB + 1, 0), (24 * GIB, 8 * GIB)])
def test_machines_of_16_gib_or_less_keep_nothing_beside_a_model(memory, room):
    assert room_of(memory) == room


# --- refused and cancelled ------------------------------------------------------------------------------------------


async def test_a_model_that_is_too_big_is_refused_before_anything_is_started(pool, world, tiny, started):
    world.appraisal = TOO_BIG
    for asking in (pool.load(tiny), events(pool.ask(tiny, HELLO, session="a"))):
        with pytest.raises(EngineError, match="90 GiB: choose fewer bits") as refused:
            await asking
        assert refused.value.kind == "too big"
    assert started == [] and pool.warm() == ()


async def test_who_insists_gets_it_loaded_until_it_runs_out_of_memory(pool, world, tiny, monkeypatch):
    world.appraisal = TOO_BIG
    pool.insist(tiny)
    await pool.load(tiny)
    writing = await begun(pool.ask(tiny, HELLO, session="a", max_tokens=4000))
    monkeypatch.setattr(client, "kernel_kills", lambda: 1 << 40)
    os.kill(only_engine(pool).pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="ran out of memory"):
        [event async for event in writing]
    with pytest.raises(EngineError, match="choose fewer bits"):
        await pool.load(tiny)


async def test_a_narrow_fit_is_loaded_with_a_warning(pool, world, tiny):
    world.appraisal = Appraisal(need=GIB, warning="It takes nearly all there is.")
    assert (await pool.load(tiny)).warning == pool.loaded(tiny).warning == "It takes nearly all there is."


async def test_a_cancelled_load_ends_its_process_at_once(pool, tiny, started):
    loading = asyncio.create_task(pool.load(tiny))
    await until(lambda: bool(started))
    loading.cancel()
    await asyncio.wait([loading])
    await asyncio.wait_for(started[0]._process.wait(), PATIENCE)
    assert not is_running(started[0].pid) and pool.warm() == ()


async def test_unloading_gives_memory_back_but_never_under_an_answer(pool, tiny, others):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    writing = await begun(turn)
    with pytest.raises(EngineError, match="stop its answer"):
        await pool.unload(tiny)
    turn.stop()
    assert end([event async for event in writing]).reason == "cancelled"
    pid = only_engine(pool).pid
    await pool.unload(tiny)
    assert not is_running(pid) and pool.loaded(tiny) is None
    await pool.unload(others[0])  # it was not loaded: nothing to do


async def test_unloading_a_model_that_is_loading_tells_those_who_wait(pool, tiny, started):
    loading = asyncio.create_task(pool.load(tiny))
    await until(lambda: bool(started))
    await pool.unload(tiny)
    with pytest.raises(EngineError, match="given up"):
        await loading
    assert not is_running(started[0].pid)


async def test_what_was_given_up_while_it_loaded_is_gone_once_unloading_has_returned(pool, tiny, started):
    loading = asyncio.create_task(pool.load(tiny))
    await until(lambda: bool(started))
    loading.cancel()
    await asyncio.wait([loading])
    await pool.unload(tiny)
    assert not is_running(started[0].pid)


# --- time and memory pass -------------------------------------------------------------------------------------------


async def test_an_idle_model_goes_when_its_time_is_over_and_one_that_answers_stays(pool, world, tiny):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    writing = await begun(turn)
    world.now += 61
    pool.look_after()
    turn.stop()
    assert end([event async for event in writing]).reason == "cancelled"
    world.now += 59
    pool.look_after()
    assert pool.warm() == (tiny,)
    world.now += 1
    pool.look_after()
    assert pool.warm() == () and world.moved == [tiny, tiny]
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5)))


async def test_where_memory_is_short_idle_models_go_by_themselves(pool, world, tiny, others, monkeypatch):
    monkeypatch.setattr(pools, "_LOOK_EVERY", 0.01)
    await pool.load(tiny)
    world.now += 1
    turn = pool.ask(others[0], HELLO, session="a", max_tokens=4000)
    writing = await begun(turn)
    world.shortage = "much"
    await until(lambda: pool.warm() == (others[0],))
    for _ in range(5):
        await anext(writing)
    turn.stop()
    assert end([event async for event in writing]).reason == "cancelled"
    await until(lambda: pool.warm() == ())


async def test_a_model_that_died_alone_is_noticed(pool, world, tiny):
    await pool.load(tiny)
    os.kill(only_engine(pool).pid, signal.SIGKILL)
    await until(lambda: world.moved == [tiny, tiny])
    assert pool.warm() == () and pool.loaded(tiny) is None


# --- memory runs out ------------------------------------------------------------------------------------------------


async def test_an_engine_that_the_kernel_ends_for_want_of_memory_is_an_answer_with_advice(
    pool, tiny, others, monkeypatch
):
    await pool.load(others[0])
    writing = await begun(pool.ask(tiny, HELLO, session="a", max_tokens=4000))
    monkeypatch.setattr(client, "kernel_kills", lambda: 1 << 40)
    os.kill(pool._engines[tiny].engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"ran out of memory.*shorter context, fewer bits or a smaller model") as died:
        [event async for event in writing]
    assert died.value.kind == "memory"
    assert pool.warm() == (), "the others gave their memory for the next try"
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5)))


async def test_what_metal_says_before_it_ends_the_process_is_understood(pool, tiny):
    writing = await begun(pool.ask(tiny, HELLO, session="a", max_tokens=4000))
    engine = only_engine(pool)
    with engine._log.open("a") as log:
        log.write("libc++abi: terminating: [METAL] Command buffer execution failed: Insufficient Memory (00000008)\n")
    os.kill(engine.pid, signal.SIGABRT)
    with pytest.raises(EngineError, match=r"ran out of memory.*SIGABRT") as died:
        [event async for event in writing]
    assert died.value.kind == "memory"


STARVING = """
from model.session import Session

def prefill(self, tokens, *rest, read=Session.prefill):
    if len(tokens) > 1000:
        raise RuntimeError("[malloc] Unable to allocate 17179869184 bytes.")
    return read(self, tokens, *rest)

Session.prefill = prefill
"""
"""Read at a worker's start: MLX finds no memory for long prompts, as Metal and CUDA tell it. Its CPU back end just
dies."""


async def test_an_engine_that_finds_no_memory_says_so_and_lets_go_of_what_it_can(pool, tiny, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(STARVING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    await events(pool.ask(tiny, HELLO, session="a", max_tokens=5))
    pid = only_engine(pool).pid
    with pytest.raises(EngineError, match=r"memory is not enough.*shorter context") as failed:
        await events(pool.ask(tiny, LONG, session="b", max_tokens=5))
    assert failed.value.kind == "memory"
    again = await events(pool.ask(tiny, HELLO, session="a", max_tokens=5))
    assert text(again) and end(again).reused_tokens == 0
    assert only_engine(pool).pid == pid
