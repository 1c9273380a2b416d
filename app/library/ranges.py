"""One file over HTTP into its part, from where the part ends, until its checksum is the listed one.

What has come is written before more is asked for, so that a killed process loses next to nothing. Faults of the way
(a cut connection, a server that is busy) are waited out, longer each time; faults of the content throw the part away,
once. Nothing needs to be asked about the file's age: its checksum is known beforehand. It knows no repositories, and
of the HTTP client only what it is given.
"""

import contextlib
import email.utils
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from app.errors import QuietlyError
from app.library.layout import File

if TYPE_CHECKING:
    from hashlib import _Hash

TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as cut."""
PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each further try, of those that bring next to nothing, once a file has begun to come."""
_AT_FIRST = 2
"""How many of these there are before that: who asks now wants to know soon."""
_FRUITFUL = 64 * 1024
"""Bytes that make a try one that brought something."""
LONGEST_PAUSE = 60.0
"""Seconds that a server may ask us to wait."""
_DAY = 86400.0
"""Seconds; a server that asks for more is not to be believed."""
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_WINDOW = 640 * 1024
"""Bytes that the system may take in for us before we read them.

They are lost when the process is killed, and fetched again. Left to itself a system takes several MiB; with this much a
server that is 10 ms away can still send 60 MB/s.
"""
_DOUBLED = sys.platform == "linux"
"""Whether the system makes room for twice what it is told."""
_MIB = 1 << 20


class Broken(Exception):
    """A try that ended early; another one may go better."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        """`why` is half a sentence."""
        super().__init__(why)
        self.pause = pause
        """Seconds that the server asks us to wait."""


class _Other(Exception):
    """What is sent is not the listed file."""


class Reader:
    """Fetches the files of one repository, one after the other."""

    def __init__(
        self,
        client: Any,
        headers: Mapping[str, str],
        repo: str,
        refuse: Callable[[Any], None],
        doing: Callable[[str], None] = lambda sentence: None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`client` is the Hub client's own, so that its proxies and certificates hold; it follows redirects and takes
        the token off where they lead to another host. `refuse` raises what an answer without content means. `doing`
        gets a sentence whenever something else is done than fetching, and an empty one after it.
        """
        self._client = client
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._repo = repo
        self._refuse = refuse
        self._doing = doing
        self._wait = wait
        self._came = False

    def fetch(self, url: str, file: File, part: Path) -> None:
        """Let `part` have the content of `file`, verified and on the disk.

        QuietlyError where what is sent is not that, twice; Broken where the way there stays barred; OSError from the
        disk; what `refuse` raises. What has come stays for the next time, in all cases but the first.
        """
        for _ in range(2):
            with contextlib.suppress(_Other):
                if self._through(url, file, part) == file.id:
                    return
            part.unlink()
        raise QuietlyError(
            f"{self._repo}: {file.name} is not what the Hub lists and was thrown away; get the model again."
        )

    def _through(self, url: str, file: File, part: Path) -> str:
        """Fetch what is missing; the checksum of the whole."""
        with part.open("a+b", buffering=0) as content:
            digest = self._what_is_here(content, file)
            fruitless = 0
            while (begun := content.tell()) < file.size:
                try:
                    for piece in self._pieces(url, file, begun):
                        _write(content, piece)
                        digest.update(piece)
                    broken = Broken("the connection was cut")
                except Broken as error:
                    broken = error
                fruitless = 0 if content.tell() - begun >= _FRUITFUL else fruitless + 1
                if content.tell() < file.size:
                    self._sit_out(broken, fruitless)
            os.fsync(content.fileno())
            return digest.hexdigest()

    def _what_is_here(self, content: BinaryIO, file: File) -> "_Hash":
        """The checksum so far; `content` stands at its end afterwards."""
        digest = file.digest()
        if content.seek(0, os.SEEK_END) > file.size:
            content.truncate(0)  # nothing we wrote
        content.seek(0)
        if content.read(1):
            content.seek(0)
            self._doing("Reading what is here already.")
            while block := content.read(_MIB):
                digest.update(block)
            self._doing("")
        content.seek(0, os.SEEK_END)
        return digest

    def _sit_out(self, broken: Broken, fruitless: int) -> None:
        """Wait before the next try. Raises `broken` where there should be none."""
        if fruitless == 0 and broken.pause is None:
            return
        patience = PATIENCE if self._came else PATIENCE[:_AT_FIRST]
        if fruitless > len(patience) or (broken.pause or 0) > LONGEST_PAUSE:
            raise broken
        pause = patience[fruitless - 1] if broken.pause is None else broken.pause
        why = str(broken)
        self._doing(f"{why[0].upper()}{why[1:]}; trying again in {max(1, round(pause))} s.")
        self._wait(pause)
        self._doing("")

    def _pieces(self, url: str, file: File, start: int) -> Iterator[bytes]:
        """The content from `start` on, as it comes; never more than there is to come."""
        headers = {**self._headers, "Range": f"bytes={start}-"} if start else self._headers
        try:
            with self._client.stream("GET", url, headers=headers, timeout=TIMEOUT) as answer:
                skip = self._skip(answer, file, start)
                self._came = True
                _keep_little_unread(answer)
                missing = file.size - start
                for piece in answer.iter_raw():
                    wanted = piece[skip:]
                    skip = max(0, skip - len(piece))
                    if len(wanted) > missing:
                        raise _Other
                    missing -= len(wanted)
                    yield wanted
        except Exception as error:
            if not of_network(error):
                raise
            raise Broken("the connection was cut" if self._came else "the server cannot be reached") from error

    def _skip(self, answer: Any, file: File, start: int) -> int:
        """How many bytes of the answer are here already. Raises where it is no part of the file."""
        match answer.status_code:
            case 206:
                sent = re.fullmatch(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)", answer.headers.get("content-range", ""))
                if sent is None or int(sent[1]) != start:
                    raise Broken("the server sent another part than was asked for")
                if sent[2] not in ("*", str(file.size)):
                    raise _Other
                return 0
            case 200:
                if answer.headers.get("content-length", str(file.size)) != str(file.size):
                    raise _Other
                return start  # it cannot send a part
            case 416:
                raise _Other
            case busy if busy in _BUSY:
                raise Broken(f"the server is busy ({busy})", _asked_pause(answer.headers))
            case _:
                self._refuse(answer)
                raise Broken(f"the server answered {answer.status_code}")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def of_network(error: BaseException) -> bool:
    """Whether it is the HTTP client's word for a way that is barred."""
    package = type(error).__module__.partition(".")[0]
    if not package.startswith(("httpx", "httpcore")):
        return isinstance(error, ConnectionError | TimeoutError)
    kind = getattr(sys.modules[package], "TransportError", None)
    return kind is None or isinstance(error, kind)


def _keep_little_unread(answer: Any) -> None:
    """Let the system take in no more than `_WINDOW` bytes of the answer that have not been read."""
    stream = answer.extensions.get("network_stream")
    if stream is not None and (connection := stream.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW // (1 + _DOUBLED))


def _write(content: BinaryIO, piece: bytes) -> None:
    """All of it: a nearly full disk takes the first part, and says so only when asked for the rest."""
    rest = memoryview(piece)
    while rest:
        rest = rest[content.write(rest) :]


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks us to wait."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return min(float(asked), _DAY)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return min(max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time()), _DAY)
    return None
