"""A process of its own looks into models: it answers in turn, is replaced when it fails, and goes with who asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from app.errors import QuietlyError
from app.inspecting.apart import Reader
from app.inspecting.figures import sections
from app.inspecting.reader import LONGEST, Refused, Reply, Spelled, line_of
from app.inspecting.reading import inspect
from app.inspecting.vocabulary import Piece
from tests.app.engine.conftest import is_running
from tests.waiting import until


@pytest_asyncio.fixture
async def reader(speaking: Path) -> AsyncIterator[Reader]:
    reader = Reader(str(speaking), ())
    yield reader
    await reader.close()


async def test_what_it_tells_is_what_is_read_here(reader: Reader, speaking: Path) -> None:
    told = await reader.inspect(100)
    assert list(told.sections) == sections(inspect(str(speaking), 100, ())) and told.has_tokenizer


async def test_questions_wait_for_each_other(reader: Reader) -> None:
    texts = ["a", "bc", "", "déf"]
    spelled = await asyncio.gather(*(reader.spell(text, ["x", "yz"]) for text in texts))
    assert [b"".join(piece.spelling for piece in one.pieces).decode() for one in spelled] == texts
    assert [len(word) for word in spelled[0].words] == [1, 2]


async def test_a_refusal_is_a_sentence_and_the_next_question_is_answered(tmp_path: Path, config: Path) -> None:
    reader = Reader(str(config), ())
    with pytest.raises(QuietlyError, match=r"qwen2-7b has no tokenizer\.json"):
        await reader.spell("a")
    assert not (await reader.inspect()).has_tokenizer
    with pytest.raises(QuietlyError, match=r"has no tokenizer\.json"):
        await reader.spell("a")
    await reader.close()


def test_more_than_can_be_shown_is_refused() -> None:
    short, long = (Spelled((Piece(1, bytes(length)),), ()) for length in (8, LONGEST))
    assert msgspec.json.decode(line_of(short), type=Reply) == short
    refused = msgspec.json.decode(line_of(long), type=Reply)
    assert isinstance(refused, Refused) and "make the text shorter" in refused.sentence


async def test_a_process_that_dies_is_a_sentence_and_is_replaced(reader: Reader) -> None:
    await reader.spell("a")
    assert reader._process is not None
    reader._process.kill()
    with pytest.raises(QuietlyError, match="cannot be read"):
        await reader.spell("b")
    assert (await reader.spell("c")).pieces[0].spelling == b"c"


async def test_who_gives_up_ends_it_and_the_next_answer_is_the_next_questions(reader: Reader) -> None:
    asked = asyncio.create_task(reader.inspect())
    while reader._process is None:
        await asyncio.sleep(0)
    first = reader._process.pid
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await until(lambda: not is_running(first))
    assert (await reader.spell("c")).pieces[0].spelling == b"c"


async def test_a_model_that_takes_too_long_is_a_sentence(speaking: Path) -> None:
    reader = Reader(str(speaking), (), seconds=0.001)
    with pytest.raises(QuietlyError, match="takes too long"):
        await reader.inspect()
    assert reader._process is None


async def test_it_goes_with_who_asked(reader: Reader) -> None:
    await reader.spell("a")
    assert reader._process is not None
    process = reader._process.pid
    await reader.close()
    await until(lambda: not is_running(process))
