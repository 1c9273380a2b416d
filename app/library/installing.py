"""pip, in a process that says whom it speaks to: `python -m app.library.installing install ...`.

Each connection is a line of its own among those that pip prints; `told` finds it there. Nothing else is changed.
"""

import os
import runpy
import sys
from collections.abc import Sequence

import msgspec

from app import connections
from app.connections import Connection

_MARK = b"quietly-connection "
_PROBE = connections.place("::1", 0)
"""What pip's client binds a socket to when it is imported, to learn whether there is IPv6."""


def told(line: bytes) -> Connection | None:
    """The connection that a line of output tells of; None where it is pip's own."""
    if not line.startswith(_MARK):
        return None
    try:
        return msgspec.json.decode(line.removeprefix(_MARK), type=Connection)
    except msgspec.DecodeError:
        return None


def main(arguments: Sequence[str]) -> None:
    """Run pip with these arguments; ends the process with its exit status."""
    connections.watch("pip", "the starter")
    connections.ledger.listen(_tell)
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _tell() -> None:
    for connection in connections.ledger.news():
        if not connection.host.startswith(_PROBE):
            os.write(1, b"\n%b%b\n" % (_MARK, msgspec.json.encode(connection)))


if __name__ == "__main__":
    main(sys.argv[1:])
