"""Whom Quietly spoke to, in words: each connection of the ledger, what they come to, and whom it ever could.

Hosts are named by others: they are cut to one line and made safe to show. Knows neither the network nor the screen.
"""

from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len

from app import words
from app.chat.text import one_line
from app.connections import Connection

NONE = "Nothing was connected to since Quietly was opened."
POSSIBLE = (
    "What could ever connect, and only when you ask for it:",
    "· Searching the Hub, and bringing a model: a process of its own speaks to the Hub (huggingface.co, or what "
    "HF_ENDPOINT names) and to where that sends it.",
    "· Bringing the starter: pip or uv speaks to the package index that it is set to.",
    "Quietly itself connects to nothing. Engines, and what reads the files you attach, are refused every connection. A "
    "link that you open goes to your browser, whose connections are its own.",
)
_LONGEST = 300
"""Cells of anything that others named; no host's name is longer."""
_UNKNOWN = "–"


def total(connections: Sequence[Connection]) -> str:
    """How many connections there were, and how much went over them."""
    said = [words.connections(sum(max(1, one.times) for one in connections))]
    sent, received = [one.sent for one in connections], [one.received for one in connections]
    said += [f"{_sum(sent)} sent", f"{_sum(received)} received"]
    uncounted = any(None in (one.sent, one.received) for one in connections)
    return " · ".join(said) + (", as far as it was counted" if uncounted else "")


def as_text(connections: Sequence[Connection]) -> str:
    """The list for a clipboard, a line each."""
    lines = [
        f"{datetime.fromtimestamp(one.at):%Y-%m-%d %H:%M:%S}  {host(one)}, {why(one)}, "
        f"by {one_line(one.by)}: {size(one.sent)} sent, {size(one.received)} received"
        for one in connections
    ]
    return "\n".join([*(lines or [NONE]), *([total(connections)] if lines else [])]) + "\n"


def host(one: Connection, room: int = _LONGEST) -> str:
    """The host, and how often there was a connection. A name says whose it is at its end: that is never cut."""
    often = f" ×{one.times:,}" if one.times > 1 else ""
    if not one.times and one.received is None:
        often = " (looked up)"
    host = one_line(one.host, _LONGEST)
    while host and cell_len(host) > room - cell_len(often):
        host = f"…{host.lstrip('…')[1:]}" if len(host) > 1 else ""
    return host + often


def why(one: Connection, room: int = _LONGEST) -> str:
    return one_line(one.why, room) or one_line("no reason given", room)


def size(count: int | None) -> str:
    return _UNKNOWN if count is None else words.size(count)


def _sum(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return words.size(sum(known)) if known else _UNKNOWN
