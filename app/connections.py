"""Whom Quietly spoke to: the ledger of connections, and the hook that writes down those of this process.

The hook is Python's audit hook. It sees every address that Python's sockets are given and every name that is asked
for, not how many bytes go over them, and nothing of what compiled code does by itself. It refuses nothing: `app.closed`
does, where nothing may be said at all. What processes that fetch something do, they tell the one that started them.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from app.closed import SPEAKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_BURST = 60.0
"""Seconds without a word after which the same host is a new row."""
_FRESH = 10.0
"""Seconds for which a name that was asked for is taken to be what the next connection is for."""
_HERE = " (this machine)"


class Connection(msgspec.Struct, frozen=True):
    """What one process had to do with one host, for one reason."""

    at: float
    """When it began, in seconds since the epoch."""
    host: str
    """Name or address with the port, or the path of a Unix socket. Others chose it: it is shown with care."""
    why: str
    by: str
    times: int = 1
    """Connections made; 0 where only its address was asked for."""
    sent: int | None = None
    """Bytes, before encryption; None where nobody counts them."""
    received: int | None = None


class Ledger:
    """The connections there were, the oldest first. May be used from any thread."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._rows: list[Connection] = []
        self._latest: dict[tuple[str, str, str], tuple[int, float]] = {}
        """By host, reason and process, the row of the last word and when it was."""
        self._told: list[Connection] = []
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    @property
    def connections(self) -> tuple[Connection, ...]:
        with self._lock:
            return tuple(self._rows)

    @property
    def count(self) -> int:
        """How many there were; a name that was only asked for is one."""
        return sum(max(1, one.times) for one in self.connections)

    def note(
        self, host: str, why: str, by: str, *, times: int = 1, sent: int | None = None, received: int | None = None
    ) -> None:
        """Write down what happens now."""
        self.add(Connection(self._now(), host, why, by, times, sent, received))

    def add(self, new: Connection) -> None:
        """Write down a connection, or more of one: within a minute the same host, reason and process are one row."""
        key = (new.host, new.why, new.by)
        with self._lock:
            place, last = self._latest.get(key, (-1, 0.0))
            if place >= 0 and new.at - last < _BURST:
                known = self._rows[place]
                self._rows[place] = msgspec.structs.replace(
                    known,
                    times=known.times + new.times,
                    sent=_both(known.sent, new.sent),
                    received=_both(known.received, new.received),
                )
            else:
                place = len(self._rows)
                self._rows.append(new)
            self._latest[key] = (place, new.at)
            listeners = list(self._listeners)
        for listener in listeners:
            with contextlib.suppress(Exception):  # who only looks on must not stop what is done
                listener()

    def news(self) -> list[Connection]:
        """What was written down since this was last asked, for another process to add to its own ledger."""
        with self._lock:
            old = [*self._told, *[None] * (len(self._rows) - len(self._told))]
            self._told = list(self._rows)
            return [_since(before, row) for before, row in zip(old, self._rows, strict=True) if before != row]

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` after everything that is written down, in whatever thread that was."""
        with self._lock:
            self._listeners.append(listener)

    def ignore(self, listener: Callable[[], object]) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners.remove(listener)


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _since(before: Connection | None, row: Connection) -> Connection:
    """`row` without what was in it `before`."""
    if before is None:
        return row
    return msgspec.structs.replace(
        row,
        times=row.times - before.times,
        sent=None if row.sent is None else row.sent - (before.sent or 0),
        received=None if row.received is None else row.received - (before.received or 0),
    )


ledger = Ledger()
"""This process's own. It is asked for where it is needed, as `connections.ledger`."""

# --- what this process does -----------------------------------------------------------------------

_purpose: ContextVar[str] = ContextVar("purpose", default="")
_asked = threading.local()
"""In each thread the name that was asked for last, with its port, and when."""
_by = _why = ""


def watch(by: str, why: str = "") -> None:
    """From here on, write down what this process does: `by` is what it is called, `why` what all it does is for."""
    global _by, _why
    if not _by:
        sys.addaudithook(_hook)
    _by, _why = by, why


@contextlib.contextmanager
def purpose(why: str) -> Iterator[None]:
    """Say what the connections made within are for."""
    token = _purpose.set(why)
    try:
        yield
    finally:
        _purpose.reset(token)


def note(host: str, *, times: int = 1, sent: int | None = None, received: int | None = None) -> None:
    """Write down something this process does now."""
    ledger.note(host, _purpose.get() or _why, _by, times=times, sent=sent, received=received)


def place(host: str, port: object = None) -> str:
    """A host as the ledger names it: example.org:443, [2001:db8::1]:443, 127.0.0.1:8080 (this machine)."""
    shown = f"[{host}]" if ":" in host else host
    if port is not None:
        shown = f"{shown}:{port}"
    address = _address(host)
    return f"{shown}{_HERE}" if host == "localhost" or (address is not None and address.is_loopback) else shown


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in SPEAKING:
        with contextlib.suppress(Exception):  # whatever is wrong with what was asked, others will say
            _take(event, arguments)


def _take(event: str, arguments: tuple[object, ...]) -> None:
    match event, arguments:
        case "socket.getaddrinfo", (host, port, *_):
            _look_up(host, port)
        case (("socket.gethostbyname" | "socket.gethostbyaddr"), (host, *_)):
            _look_up(host, None)
        case "socket.getnameinfo", ((host, port, *_), *_):
            note(place(_text(host), port), times=0)
        case "socket.bind", (_, address):
            note(f"{_place_of(address)}, listening")
        case (("socket.connect" | "socket.sendto" | "socket.sendmsg"), (_, address)) if address is not None:
            note(_place_of(address))


def _look_up(host: object, port: object) -> None:
    _asked.last = None
    name = _text(host)
    if name and name != "localhost" and _address(name) is None:
        _asked.last = (place(name, port), port, time.monotonic())
        note(place(name, port), times=0)


def _place_of(address: object) -> str:
    """Where a socket is pointed at: by its name, where this thread has just asked for that."""
    match address:
        case (str() | bytes() as host, int() as port, *_):
            name, asked, when = getattr(_asked, "last", None) or ("", None, 0.0)
            if name and asked in (None, port, str(port)) and time.monotonic() - when < _FRESH:
                return str(name)
            return place(_text(host), port)
        case str() | bytes():
            return f"{os.fsdecode(address)}{_HERE}"
        case _:
            return repr(address)[:200]


def _text(host: object) -> str:
    if isinstance(host, bytes | bytearray):
        return host.decode(errors="replace")
    return str(host) if host is not None else ""


def _address(host: str) -> "IPv4Address | IPv6Address | None":
    """`host` as an address; None where it is a name."""
    import ipaddress  # only once there is something to write down

    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
