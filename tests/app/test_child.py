"""A process of its own: what it says arrives, and it ends when nobody wants to hear more."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from app.child import speaking
from app.connections import Ledger
from app.errors import QuietlyError
from tests.app.speaker import Word
from tests.waiting import PATIENCE

MODULE = "tests.app.speaker"


async def heard(what: str) -> list[str]:
    """All that it says."""
    async with speaking(MODULE, [what], Word, what="The speaker") as said:
        return [word.text async for word in said]


async def test_what_it_says_arrives_and_what_libraries_print_does_not(home: Path) -> None:
    assert await heard("library") == ["x" * 1_000_000]
    assert (home / "logs/speaker.log").read_text() == "what libraries print\n"
    assert (home / "logs/speaker.log").stat().st_mode & 0o777 == 0o600


async def test_what_went_wrong_is_one_sentence(home: Path) -> None:
    with pytest.raises(QuietlyError, match=r"^No such thing: choose another\.$"):
        await heard("sentence")
    with pytest.raises(QuietlyError, match=r"^a\?b is no name: choose another\.$"):
        await heard("no Unicode")
    with pytest.raises(QuietlyError, match=r"^It broke \(inner\): mend it\.$"):
        await heard("error")
    assert "ValueError: inner" in (home / "logs/speaker.log").read_text()


async def test_whom_it_speaks_to_is_in_the_ledger(ledger: Ledger) -> None:
    await heard("connection")
    [spoken] = ledger.connections
    assert (spoken.host, spoken.by, spoken.why) == ("example.org:443", "speaker", "the test")


async def test_leaving_kills_it() -> None:
    async with speaking(MODULE, ["pid, then nothing"], Word, what="The speaker") as said:
        process = int((await anext(said)).text)
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert await anext(said, None) is None, "nobody is left who listens to it"


async def test_cancelling_who_listens_kills_it() -> None:
    begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        async with speaking(MODULE, ["pid, then nothing"], Word, what="The speaker") as said:
            async for word in said:
                begun.set_result(int(word.text))

    listening = asyncio.create_task(listen())
    process = await begun
    listening.cancel()
    await asyncio.wait([listening])
    assert listening.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_it_ends_when_nobody_waits_for_it() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MODULE, "pid, then nothing"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdin is not None
    await child.stdout.readline()
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), PATIENCE) == 1


async def test_one_that_dies_in_the_middle_of_a_word_ended_early() -> None:
    with pytest.raises(QuietlyError, match="The speaker ended early"):
        await heard("half a word")


async def test_a_place_for_its_log_that_is_taken_is_named(home: Path) -> None:
    home.mkdir()
    (home / "logs").write_text("")
    with pytest.raises(QuietlyError, match="logs cannot be made"):
        await heard("variables")
