"""A real worker process, asked, stopped, killed and fed with bad models, as seen from the window's side."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from app.engine import client
from app.engine.client import Engine, EngineError
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Delta, Progress, SamplingOptions
from tests.app.engine.conftest import HELLO, LONG, end, events, long_conversation, only_engine, text
from tests.checkpoints import random_checkpoint, speaking_checkpoint
from tests.waiting import PATIENCE


async def test_an_answer_comes_as_progress_text_and_what_it_took(pool, tiny):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=40)
    seen = await events(turn)
    stages = [event.stage for event in seen if isinstance(event, Progress)]
    finished = end(seen)
    assert stages[-1] == "prefill"
    assert text(seen)
    assert finished.reason in ("length", "stop")
    assert len(finished.token_ids) == finished.completion_tokens <= 40
    assert finished.first_token_seconds > 0
    assert finished.memory > 0
    assert turn.facts is not None and turn.facts.architecture == "qwen2" and turn.facts.context == 4096


async def test_the_same_seed_gives_the_same_answer(pool, tiny):
    sampling = SamplingOptions(temperature=1.0, seed=3)
    first, second, other = [
        end(await events(pool.ask(tiny, HELLO, session=key, sampling=options, max_tokens=20))).token_ids
        for key, options in (("a", sampling), ("b", sampling), ("c", SamplingOptions(temperature=1.0, seed=4)))
    ]
    assert first == second != other


async def test_the_next_turn_reads_only_what_is_new(pool, tiny):
    seen = await events(pool.ask(tiny, LONG, session="a", max_tokens=10))
    facts = pool.loaded(tiny)
    said = ChatMessage("assistant", text(seen), end(seen).token_ids, facts.fingerprint)
    again = end(await events(pool.ask(tiny, [*LONG, said, *HELLO], session="a", max_tokens=5)))
    assert again.reused_tokens >= end(seen).prompt_tokens + len(end(seen).token_ids) - 1
    assert end(await events(pool.ask(tiny, LONG, session="b", max_tokens=5))).reused_tokens == 0


async def test_stop_keeps_what_was_written(pool, tiny):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    seen = []
    async for event in turn:
        seen.append(event)
        if len(text(seen)) > 5:
            turn.stop()
    assert end(seen).reason == "cancelled"
    assert 0 < end(seen).completion_tokens < 4000


async def test_stop_while_the_prompt_is_read(pool, tiny):
    turn = pool.ask(tiny, LONG, session="a")
    seen = []
    async for event in turn:
        seen.append(event)
        if isinstance(event, Progress) and event.stage == "prefill":
            turn.stop()
    assert end(seen).reason == "cancelled"
    assert text(seen) == ""


async def test_stop_while_the_model_loads(pool, tiny):
    turn = pool.ask(tiny, HELLO, session="a")
    turn.stop()
    assert end(await events(turn)).reason == "cancelled"
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5)))


async def test_an_abandoned_answer_makes_way_for_the_next(pool, tiny):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    async for event in turn:
        if isinstance(event, Delta):
            break
    finished = end(await events(pool.ask(tiny, HELLO, session="b", max_tokens=5)))
    assert finished.completion_tokens <= 5


async def test_tokens_are_counted_while_an_answer_is_written(pool, tiny):
    await pool.load(tiny)
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    async for event in turn:
        if isinstance(event, Delta):
            counted = await pool.count(tiny, HELLO)
            assert counted.tokens == len("user\nhello\nassistant\n") + 3
            turn.stop()


async def test_a_killed_engine_is_reported_and_replaced(pool, tiny):
    turn = pool.ask(tiny, HELLO, session="a", max_tokens=4000)
    seen = []
    with pytest.raises(EngineError, match=r"SIGKILL.*next message starts a new one") as raised:
        async for event in turn:
            seen.append(event)
            if isinstance(event, Delta):
                first = only_engine(pool).pid
                os.kill(first, signal.SIGKILL)
    assert raised.value.kind == "engine"
    assert text(seen)
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5)))
    assert only_engine(pool).pid != first


async def test_an_engine_that_does_not_answer_is_killed(pool, tiny, monkeypatch):
    await pool.load(tiny)
    engine = only_engine(pool)
    os.kill(engine.pid, signal.SIGSTOP)
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    with pytest.raises(EngineError, match="did not answer"):
        await engine.count(HELLO)
    assert text(await events(pool.ask(tiny, HELLO, session="a", max_tokens=5)))


async def test_the_worker_ends_when_its_input_closes(places):
    engine = await Engine.start(places)
    engine._process.stdin.close()
    assert await asyncio.wait_for(engine._process.wait(), PATIENCE) == 0


async def test_closing_the_pool_ends_every_process(places, tiny):
    pool = Pool(places, memory=16 * 1024**3)
    await pool.load(tiny)
    pid = only_engine(pool).pid
    await pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def damaged(folder: Path, kind: str) -> Path:
    """A checkpoint folder with one thing wrong with it."""
    if kind == "no config":
        folder.mkdir()
        return folder
    if kind == "no folder":
        return folder
    speaking_checkpoint(folder, template="{{ raise_exception('no such role') }}" if kind == "raising" else "x")
    if kind == "looping":
        hang = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        speaking_checkpoint(folder, template=hang)
    elif kind == "unknown architecture":
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"qwen2"', '"perceiver9"'))
    elif kind == "truncated":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "lying header":
        weights = folder / "model.safetensors"
        weights.write_bytes((2**60).to_bytes(8, "little") + weights.read_bytes()[8:])
    elif kind == "missing weight":
        random_checkpoint(folder, num_hidden_layers=1, vocab_size=258)
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"num_hidden_layers": 1', '"num_hidden_layers": 2'))
    elif kind == "other shapes":
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"intermediate_size": 48', '"intermediate_size": 64'))
    elif kind == "foreign vocabulary":
        random_checkpoint(folder, vocab_size=200)
    elif kind == "no template":
        (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no folder", "is not a model folder"),
        ("no config", "config.json is missing"),
        ("unknown architecture", "perceiver9"),
        ("truncated", "early"),
        ("lying header", "header"),
        ("missing weight", "layers.1"),
        ("other shapes", "config.json asks for"),
        ("foreign vocabulary", "258 tokens"),
        ("no template", "chat template"),
        ("raising", "no such role"),
        pytest.param("looping", "template", marks=pytest.mark.soak),  # it takes its seconds before it is ended
    ],
)
async def test_a_bad_model_is_one_sentence_and_the_next_one_still_loads(pool, tiny, tmp_path, kind, says):
    with pytest.raises(EngineError, match=says) as raised:
        await events(pool.ask(damaged(tmp_path / "bad", kind), HELLO, session="a", max_tokens=5))
    sentence = str(raised.value)
    assert "Traceback" not in sentence and "\n" not in sentence and len(sentence) < 400
    assert text(await events(pool.ask(tiny, HELLO, session="b", max_tokens=5)))


async def test_a_conversation_longer_than_the_context_is_refused_and_the_engine_lives(pool, tiny):
    with pytest.raises(EngineError, match=r"4,5\d\d tokens long and the context holds 4,096") as raised:
        await events(pool.ask(tiny, [ChatMessage("user", "x" * 4500)], session="a"))
    assert raised.value.kind == "context"
    pid = only_engine(pool).pid
    await events(pool.ask(tiny, HELLO, session="a", max_tokens=5))
    assert only_engine(pool).pid == pid


async def test_an_answer_ends_where_the_context_does(pool, tmp_path):
    small = speaking_checkpoint(tmp_path / "small")
    config = small / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 4096', '"max_position_embeddings": 40'))
    finished = end(await events(pool.ask(small, HELLO, session="a")))
    if finished.reason != "stop":
        assert finished.reason == "context"
        assert finished.prompt_tokens + finished.completion_tokens == 40


async def test_with_little_memory_one_model_stays(pool, tiny, tmp_path):
    await pool.load(tiny)
    first = only_engine(pool).pid
    other = speaking_checkpoint(tmp_path / "other", num_hidden_layers=1)
    await pool.load(other)
    assert pool.loaded(tiny) is None and pool.loaded(other) is not None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_with_much_memory_both_stay(places, tiny, tmp_path):
    pool = Pool(places, memory=64 * 1024**3)
    try:
        await pool.load(tiny)
        await pool.load(speaking_checkpoint(tmp_path / "other"))
        assert len(pool.warm()) == 2
    finally:
        await pool.close()


async def test_several_askers_share_one_load(pool, tiny):
    first, second = await asyncio.gather(pool.load(tiny), pool.load(tiny))
    assert first is second


async def test_the_engine_says_what_it_computes_on(places):
    engine = await Engine.start(places)
    facts = await engine.describe()
    await engine.close()
    assert facts.mlx and facts.device and facts.blas


async def test_logs_are_private_and_few(places):
    for _ in range(3):
        engine = await Engine.start(places)
        await engine.close()
    logs = list(places.logs.glob("engine-*.log"))
    assert len(logs) == 3
    assert all(log.stat().st_mode & 0o777 == 0o600 for log in logs)


async def test_a_long_conversation_loses_its_oldest_turns_and_says_how_many(pool, tiny):
    first = end(await events(pool.ask(tiny, long_conversation(8), session="a", max_tokens=3)))
    second = end(await events(pool.ask(tiny, long_conversation(9), session="a", max_tokens=3)))
    assert first.dropped_messages > 0 and first.prompt_tokens <= 4096 * 3 / 4
    assert second.dropped_messages == first.dropped_messages
    assert second.reused_tokens > first.prompt_tokens / 2


async def test_a_model_nobody_waits_for_any_more_is_let_go(pool, tiny):
    first, second = (asyncio.create_task(pool.load(tiny)) for _ in range(2))
    while not pool._loads:
        await asyncio.sleep(0)
    load = next(iter(pool._loads.values())).task
    first.cancel()
    await asyncio.wait([first])
    assert not load.cancelling()
    second.cancel()
    await asyncio.wait([second, load])
    assert load.cancelled() and pool.loaded(tiny) is None
    assert (await pool.load(tiny)).architecture == "qwen2"


async def test_models_wait_for_each_other_to_load_and_one_stays(pool, tiny, tmp_path):
    other = speaking_checkpoint(tmp_path / "other")
    await asyncio.gather(pool.load(tiny), pool.load(other))
    assert [pool.loaded(one) is not None for one in (tiny, other)].count(True) == 1


async def test_where_no_log_can_be_kept_there_is_an_answer_all_the_same(places, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    pool = Pool(msgspec.structs.replace(places, logs=tmp_path / "file" / "logs"))
    assert (await pool.load(tiny)).architecture == "qwen2"
    await pool.close()


async def test_an_engine_that_talks_nonsense_is_ended(pool, tiny, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, bytes([255]) * (1 << 22))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"stopped unexpectedly \(by signal SIGKILL\)"):
        await asyncio.wait_for(pool.load(tiny), PATIENCE)


async def test_what_no_frame_can_hold_is_one_sentence(pool, tiny):
    with pytest.raises(EngineError, match="engine cannot take this") as caught:
        await events(pool.ask(tiny, [ChatMessage("user", "hi")], session="a", sampling=SamplingOptions(seed=1 << 70)))
    assert caught.value.kind == "request"
    assert await events(pool.ask(tiny, [ChatMessage("user", "hi")], session="a", max_tokens=2))
