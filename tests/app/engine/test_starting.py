"""The beginning of an engine: what its process imports, what is begun before a model is known, what warms it up."""

import asyncio
import io
import queue
import threading
from pathlib import Path
from typing import Any

import pytest

import model
from app.engine import protocol
from app.engine.client import Engine, EngineError
from app.engine.policy import Appraisal
from app.engine.pool import Pool
from app.engine.protocol import ChatMessage, Embeddings, EmbeddingsFound, Finished, Generate, Load, Loaded, Reply
from app.engine.warming import warm_up
from app.engine.worker import Worker
from app.settings import Paths
from model.language_model import LanguageModel
from model.tokenizer import Turn
from model.weights.conversions import converted
from model.weights.gguf import convert
from model.weights.precision import Device
from tests.app.engine.conftest import HELLO, begun, end, events, is_running, only_engine
from tests.checkpoints import CHATML, speaking_checkpoint
from tests.model.gguf_files import write_gguf
from tests.waiting import PATIENCE, until

NOT_NEEDED = {
    "mlx_lm": "for architectures that are not ours, and a second to import",
    "transformers": "mlx-lm's",
    "torch": "nobody's",
    "numpy": "what converts a GGUF file runs in it, and what was converted needs it no more",
    "gguf": "for converting, too",
    "huggingface_hub": "needed to download only",
    "textual": "the window's",
    "sqlite3": "conversations are the window's",
}


# --- what is imported -----------------------------------------------------------------------------------------------


async def test_a_worker_imports_nothing_that_our_own_architectures_do_not_need(
    pool: Pool, places: Paths, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # Python tells the log of every module
    assert end(await events(pool.ask(tiny, HELLO, session="a", max_tokens=2))).completion_tokens == 2
    (log,) = places.logs.glob("engine-*.log")
    told = (line for line in log.read_text().splitlines() if line.startswith("import time:"))
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told}
    assert {"mlx", "tokenizers", "jinja2", "model"} <= imported
    assert NOT_NEEDED.keys() & imported == set()


def test_a_converted_file_opens_without_what_converts(tmp_path: Path) -> None:
    file, conversions = write_gguf(tmp_path / "small.gguf"), tmp_path / "converted"
    assert converted(file, conversions) is None
    folder = convert(file, conversions, lambda done, total: None)
    assert converted(file, conversions) == folder
    (folder / "tokenizer.json").rename(folder / "aside")
    assert converted(file, conversions) is None, "what is not whole is converted anew"
    (folder / "aside").rename(folder / "tokenizer.json")
    file.touch()
    assert converted(file, conversions) is None, "the file is in another state"


# --- what begins ahead ----------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Every engine that is begun."""
    engines, start = [], Engine.start

    async def note(places: Paths) -> Engine:
        engines.append(await start(places))
        return engines[-1]

    monkeypatch.setattr(Engine, "start", note)
    return engines


async def test_the_model_that_is_loaded_first_gets_the_engine_that_was_begun_ahead(pool, tiny, others, started):
    pool.prepare()
    pool.prepare()
    await until(lambda: started)
    await pool.load(tiny)
    assert started == [only_engine(pool)]
    await pool.load(others[0])
    assert len(started) == 2


async def test_an_engine_that_was_begun_ahead_and_died_is_begun_again(pool, tiny, started):
    pool.prepare()
    await until(lambda: started)
    started[0].kill()
    await pool.load(tiny)
    assert len(started) == 2 and only_engine(pool) is started[1]


async def test_an_engine_begins_while_another_has_yet_to_end_and_ends_where_nobody_wants_it_any_more(
    pool, tiny, others, started
):
    writing = await begun(pool.ask(tiny, HELLO, session="a", max_tokens=4000))
    loading = asyncio.create_task(pool.load(others[0]))  # one model has room, and that one writes
    await until(lambda: len(started) == 2)
    assert pool.warm() == (tiny,) and not loading.done()
    loading.cancel()
    await until(lambda: not is_running(started[1].pid))
    await writing.aclose()


async def test_an_engine_that_has_just_begun_ends_where_its_load_is_given_up_at_that_moment(
    pool, tiny, started, monkeypatch
):
    begin = Engine.start

    async def begun_too_late(places: Paths) -> Engine:
        engine = await begin(places)
        loading.cancel()
        return engine

    monkeypatch.setattr(Engine, "start", begun_too_late)
    loading = asyncio.create_task(pool.load(tiny))
    await asyncio.wait([loading])
    await until(lambda: not is_running(started[0].pid))


async def test_an_engine_for_a_model_that_is_refused_ends_and_so_does_one_that_nobody_used(places, tiny, started):
    pool = Pool(places, appraise=lambda checkpoint, held: Appraisal(refusal="It is too big: choose a smaller one."))
    pool.prepare()
    with pytest.raises(EngineError, match="too big"):
        await pool.load(tiny)
    await until(lambda: started and not is_running(started[0].pid))
    pool.prepare()
    await pool.close()
    assert len(started) == 2 and not is_running(started[1].pid)


def test_an_engine_that_was_not_closed_ends_with_the_loop(places, started):
    async def forget_it() -> None:
        Pool(places).prepare()
        await until(lambda: started)

    asyncio.run(forget_it())
    assert started[0]._process.returncode == -9, "else its pipes complain that the loop is closed"


# --- what warms it up -----------------------------------------------------------------------------------------------


class InThisProcess:
    """A worker whose MLX thread is one of this process, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._worker = Worker(self.replies.put, "none")
        self._folder = folder

    def load(self, checkpoint: Path) -> None:
        self.tell(Load(1, str(checkpoint), conversions=str(self._folder)))
        self.hear(Loaded)

    def tell(self, request: protocol.Request) -> None:
        self._worker.serve(io.BytesIO(protocol.frame(request)))

    def hear(self, kind: type[Reply]) -> Any:
        while not isinstance(reply := self.replies.get(timeout=PATIENCE), kind):
            assert not isinstance(reply, protocol.Failed), reply
        return reply


@pytest.fixture
def worker(tmp_path: Path) -> InThisProcess:
    return InThisProcess(tmp_path)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what warms up take this machine's device for one that has kernels to compile."""
    monkeypatch.setattr("model.weights.precision.this_device", lambda: Device(gpu=True, architecture=""))


def warmed(monkeypatch: pytest.MonkeyPatch, worker: InThisProcess, checkpoint: Path) -> list[list[int]]:
    """The prompts that were read before a person's."""
    prompts: list[list[int]] = []
    generation = LanguageModel.generation

    def noted(model: LanguageModel, session: Any, tokens: list[int], *others: Any, **more: Any) -> Any:
        prompts.append(tokens)
        return generation(model, session, tokens, *others, **more)

    monkeypatch.setattr(LanguageModel, "generation", noted)
    worker.load(checkpoint)
    worker.tell(Embeddings(2, token_ids=(1,)))
    worker.hear(EmbeddingsFound)  # one job is done after the other
    read = prompts[:]
    worker.tell(Generate(3, session="a", messages=tuple(HELLO), max_tokens=2))
    assert worker.hear(Finished).reused_tokens == 0, "nothing is left of it"
    return read


def test_a_gpu_warms_up_with_what_a_person_would_ask(worker, tiny, monkeypatch, on_a_gpu):
    prompt = model.load(tiny).prompt([Turn("user", "Hello")])
    assert warmed(monkeypatch, worker, tiny) == [prompt]


def test_a_gpu_warms_up_without_a_template_too(worker, tmp_path, monkeypatch, on_a_gpu):
    failing = speaking_checkpoint(
        tmp_path / "failing", "{{ raise_exception('no') if messages[0].content == 'Hello' }}" + CHATML
    )
    assert warmed(monkeypatch, worker, failing) == [[0]]


def test_a_cpu_has_nothing_to_compile_but_the_template(worker, tiny, monkeypatch):
    assert warmed(monkeypatch, worker, tiny) == []


def test_whoever_asks_while_an_engine_warms_up_need_not_wait_for_it(worker, tiny, monkeypatch, on_a_gpu):
    asked, gave_way = threading.Event(), threading.Event()
    generation = LanguageModel.generation

    def slow(model: LanguageModel, *others: Any, **more: Any) -> Any:
        monkeypatch.setattr(LanguageModel, "generation", generation)
        assert asked.wait(20)
        if more["cancelled"]():
            gave_way.set()
        return generation(model, *others, **more)

    monkeypatch.setattr(LanguageModel, "generation", slow)
    worker.load(tiny)
    worker.tell(Generate(2, session="a", messages=(ChatMessage("user", "hello"),), max_tokens=2))
    asked.set()
    assert worker.hear(Finished).completion_tokens == 2 and gave_way.is_set()


def test_memory_is_wired_for_a_conversation_also_where_warming_up_is_given_up(tiny, monkeypatch, on_a_gpu):
    wired: list[int] = []
    monkeypatch.setattr("app.engine.warming.set_limits", lambda mx, weights, kv: wired.append(kv))
    loaded = model.load(tiny)
    warm_up(loaded, hurried=lambda: True)
    session = loaded.session()
    session.prefill(list(range(loaded.traits.context - 1)))
    assert wired == [session.nbytes]
