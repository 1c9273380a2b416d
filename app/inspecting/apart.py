"""The near side of looking into a model: asks a process of its own, and ends it where it does not answer."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from app.ending import end, gone
from app.errors import QuietlyError
from app.inspecting.reader import LONGEST, Inspect, Question, Refused, Reply, Spell, Spelled, Told

SECONDS = 30.0
"""How long one answer may take: the largest vocabularies take two to read."""
_decode: Callable[[bytes], Reply] = msgspec.json.Decoder(Reply).decode


class Reader:
    """One such process, begun with the first question; questions wait for each other. A context: at its end it ends."""

    def __init__(self, reference: str, folders: Iterable[Path], seconds: float = SECONDS) -> None:
        """`reference` and `folders` as for `app.inspecting.reading.located`."""
        self._reference, self._folders = reference, tuple(map(str, folders))
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def inspect(self, context: int | None = None) -> Told:
        """What there is to know about the model. QuietlyError where it cannot be read."""
        reply = await self._ask(Inspect(self._reference, self._folders, context))
        assert isinstance(reply, Told)
        return reply

    async def spell(self, text: str, words: Iterable[str] = ()) -> Spelled:
        """A text, and single words, as its tokens. QuietlyError where it has no tokenizer that can be read."""
        reply = await self._ask(Spell(self._reference, self._folders, text, tuple(words)))
        assert isinstance(reply, Spelled)
        return reply

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            end(process)
            await gone(process)

    async def _ask(self, question: Question) -> Reply:
        async with self._turn:
            answered = False
            try:
                async with asyncio.timeout(self._seconds):
                    reply = await self._answer(question)
                answered = True
            except TimeoutError:
                raise QuietlyError("This model takes too long to read; choose another one.") from None
            except OSError as error:
                raise QuietlyError(
                    f"The model could not be read ({error.strerror}); close other programs and try again."
                ) from error
            finally:
                if not answered:
                    await self.close()  # its answer would be taken for the next question's
        if isinstance(reply, Refused):
            raise QuietlyError(reply.sentence)
        return reply

    async def _answer(self, question: Question) -> Reply:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "app.inspecting.reader"),
                stdin=asyncio.subprocess.PIPE,  # the text comes here: what is among the arguments, everybody may list
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=LONGEST + 1,
                start_new_session=True,  # the terminal's Ctrl+C is the window's business
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise QuietlyError("This model cannot be read: its files are damaged, or take too much memory.")
        return _decode(line)
