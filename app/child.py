"""A process of its own for work that is killed at any moment: it says in JSON lines how it goes.

`speaking` is the side that waits, `talking` the same for a process that is asked one thing after another, `serve` the
process. Two messages are everyone's: `Failed`, which becomes a QuietlyError, and `Spoke`, which becomes a line of the
ledger of connections. What libraries print goes to a log. It knows nothing of what the work is.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from app import connections
from app.connections import Connection
from app.ending import end, gone
from app.errors import QuietlyError, sendable
from app.settings import paths, private_folder

OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""The variable that keeps the Hub's client from speaking to anyone."""
Said = TypeVar("Said", bound=msgspec.Struct)
Say = Callable[[msgspec.Struct], None]
Hear = Callable[[bytes], None]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The end of work that could not be done, and the sentence for the person."""

    sentence: str


class Spoke(msgspec.Struct, frozen=True, tag=True):
    """Something that is to be added to the ledger."""

    connection: Connection


@dataclass(frozen=True)
class Talk(Generic[Said]):
    """A process that is asked things."""

    said: AsyncIterator[Said]
    """What it says, as it comes."""
    ask: Say
    """Tells it something; one that has ended does not hear it."""


@contextlib.asynccontextmanager
async def speaking(
    module: str,
    arguments: Sequence[str],
    *kinds: type[Said],
    what: str,
    online: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[AsyncIterator[Said]]:
    """Run `python -m module arguments`; what it says, of these (tagged) `kinds`, as it comes. See `talking`."""
    async with talking(module, arguments, *kinds, what=what, online=online, environment=environment) as talk:
        yield talk.said


@contextlib.asynccontextmanager
async def talking(
    module: str,
    arguments: Sequence[str],
    *kinds: type[Said],
    what: str,
    online: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Talk[Said]]:
    """Run `python -m module arguments`, which says messages of these (tagged) `kinds` and is asked others.

    Only where it is `online` the Hub's client may speak in it, unless the person forbids that. Leaving the context
    kills the process, wherever it is. QuietlyError where it failed, or ended before its work (`what` names the work in
    that sentence). Its complaints are in logs/<last part of the module>.log.
    """
    decode = msgspec.json.Decoder(_union(*kinds, Failed, Spoke)).decode
    with _log(f"{module.rpartition('.')[2]}.log") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module, *arguments),
                stdin=asyncio.subprocess.PIPE,  # its end tells the process that nobody waits any more
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**_environment(), **({} if online else OFFLINE), **(environment or {})},
                limit=1 << 24,  # bytes of one line: a list of found models is one
                start_new_session=True,  # the terminal's Ctrl+C is ours to answer
            )
        except OSError as error:
            raise QuietlyError(
                f"{what} could not begin ({error.strerror}): close other programs, try again."
            ) from error

    async def told() -> AsyncGenerator[Said, None]:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                message = decode(line)
            except msgspec.DecodeError:  # killed while it wrote
                break
            if isinstance(message, Failed):
                raise QuietlyError(message.sentence)
            if isinstance(message, Spoke):
                connections.ledger.add(message.connection)
            else:
                yield message
        code = await process.wait()
        if code != 0:
            raise QuietlyError(f"{what} ended early (exit {code}): try again.")

    def ask(message: msgspec.Struct) -> None:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(message) + b"\n")

    try:
        async with contextlib.aclosing(told()) as said:
            yield Talk(said, ask)
    finally:
        if process.returncode is None:
            end(process)
            await gone(process)


def serve(
    work: Callable[[Say], None],
    why: Callable[[BaseException], str],
    clear: Callable[[], None] = lambda: None,
    hear: Hear = lambda line: None,
) -> None:
    """Do the work of this process, then end it; called by `main` of a module that `speaking` starts.

    `work` says its messages through what it is given, from any thread. What it raises is said as Failed: a QuietlyError
    as it is, the rest as `why` explains it. The process ends as soon as standard input does; `clear` then takes away
    what nobody else will. What it is asked goes to `hear`, a line of JSON each, on a thread that does nothing else.
    """
    os.umask(0o077)  # whatever libraries create is the person's alone
    with os.fdopen(os.dup(1), "wb", buffering=0) as pipe:
        os.dup2(2, 1)  # what libraries print goes to the log
        lock = threading.Lock()

        def say(message: msgspec.Struct) -> None:
            with lock, contextlib.suppress(BrokenPipeError):  # nobody listens: standard input has ended too
                pipe.write(msgspec.json.encode(message) + b"\n")

        threading.Thread(target=_die_with_parent, args=(clear, hear), daemon=True).start()
        try:
            work(say)
        except QuietlyError as error:
            say(Failed(sendable(str(error))))
        except Exception as error:  # becomes a sentence; the rest is in the log
            sys.excepthook(type(error), error, error.__traceback__)
            say(Failed(sendable(why(error))))
        sys.stdout.flush()
        os._exit(0)  # a library's threads may still wait on the network


def tell_connections(say: Say, by: str, why: str) -> None:
    """From here on say whom this process speaks to."""

    def tell() -> None:
        for connection in connections.ledger.news():
            say(Spoke(connection))

    connections.watch(by, why)
    connections.ledger.listen(tell)


def _die_with_parent(clear: Callable[[], None], hear: Hear) -> None:
    with open(0, "rb", closefd=False) as asked:
        for line in asked:
            hear(line)
    clear()
    os._exit(1)


def _union(*kinds: type[Any]) -> Any:
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return union


@contextlib.contextmanager
def _log(name: str) -> Iterator[int]:
    """Where the process's complaints go: one file, for its owner alone. Two of a kind write behind each other."""
    try:
        folder = private_folder(paths().logs)
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise QuietlyError(f"{error.filename} cannot be made ({error.strerror}): free that place.") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _environment() -> dict[str, str]:
    """The process's: our own code first on its path, the Hub's client without Xet, telemetry and bars."""
    root = str(Path(__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
