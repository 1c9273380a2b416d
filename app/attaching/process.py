"""The near side of reading a file: starts the reader, waits, and kills it where it takes too long or nobody waits."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from app.attaching.reader import FULL, Reply
from app.chat.text import one_line, storable
from app.ending import end, gone
from app.errors import QuietlyError
from app.home import expanded

SECONDS = 30.0
"""How long one file may take."""


async def read_apart(path: Path, seconds: float = SECONDS) -> tuple[str, str]:
    """The name and the text of the file at `path`, read in a process of its own. QuietlyError where it cannot be."""
    path = expanded(path).absolute()
    shown = one_line(storable(path.name)) or "This file"
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder named `app` where the person stands must not be run
            "-m",
            "app.attaching.reader",
            stdin=asyncio.subprocess.PIPE,  # the path comes here: what is among the arguments, everybody may list
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl+C is the window's business
        )
    except OSError as error:
        raise QuietlyError(
            f"{shown} could not be read ({error.strerror}); close other programs and try again."
        ) from error
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate(os.fsencode(path))
    except TimeoutError:
        raise QuietlyError(_too_long(shown)) from None
    finally:
        if process.returncode is None:
            end(process)
            await gone(process)
    match process.returncode:
        case 0:
            pass
        case code if code in (-signal.SIGXCPU, -signal.SIGALRM):
            raise QuietlyError(_too_long(shown))
        case code if code in (FULL, -signal.SIGKILL):
            raise QuietlyError(f"{shown} takes too much memory to read; attach a smaller part of it.")
        case _:
            raise QuietlyError(f"{shown} could not be read; save it anew, as text or PDF, and attach that.")
    reply = msgspec.json.decode(said, type=Reply)
    if reply.wrong:
        raise QuietlyError(reply.wrong)
    return storable(path.name), reply.text


def _too_long(shown: str) -> str:
    return f"{shown} takes too long to read; attach a smaller part of it."
