"""What is typed at a real terminal, or comes through a pipe."""

import asyncio
import os
import pty
import termios
from collections.abc import Iterator

import pytest

from app.plain.listening import Listener


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: the person's, and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


async def next_of(listener: Listener) -> object:
    async with asyncio.timeout(10):
        return await listener.next()


async def write(descriptor: int, typed: bytes) -> None:
    """A terminal takes only so much at once."""
    await asyncio.to_thread(os.write, descriptor, typed)


async def test_a_line_is_edited_by_the_terminal_and_ctrl_d_ends_a_wait_only(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    listener = Listener(theirs)
    await write(ours, "caf\u00e9s\x7f?\r".encode())
    assert await next_of(listener) == "caf\u00e9?"
    await write(ours, b"\x04")
    assert await next_of(listener) is None
    await write(ours, b"more\r")
    assert await next_of(listener) == "more"
    await write(ours, b"\x04")
    assert await next_of(listener) is None


async def test_pasted_lines_may_be_longer_than_a_terminal_lets_them_be(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    listener = Listener(theirs)
    long = "word " * 2000
    with listener.any_length():
        reading = asyncio.create_task(asyncio.to_thread(drained, ours, len(long)))
        for start in range(0, len(long), 1000):
            await write(ours, long[start : start + 1000].encode())
        await write(ours, b"no\x7f\x7fend\r")
        assert await next_of(listener) == f"{long}end"
        await reading
    assert termios.tcgetattr(theirs) == before


def drained(descriptor: int, count: int) -> None:
    """Take what the terminal echoes, or it would wait."""
    while count > 0:
        count -= len(os.read(descriptor, 65536))


async def test_a_pipe_ends_with_what_has_no_line_end() -> None:
    theirs, ours = os.pipe()
    listener = Listener(theirs)
    os.write(ours, b"one\r\n\xfftwo")
    os.close(ours)
    assert [await next_of(listener) for _ in range(3)] == ["one", "\ufffdtwo", None]
    assert not listener.is_terminal


async def test_ctrl_c_is_heard_by_who_waits_for_a_line() -> None:
    theirs, ours = os.pipe()
    listener = Listener(theirs)
    listener.interrupt()
    assert await next_of(listener) == b"interrupt"
    os.close(ours)
    assert await next_of(listener) is None
