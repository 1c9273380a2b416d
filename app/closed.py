"""Processes that speak to nobody: whatever they try with a socket raises.

It is Python's audit hook, which cannot be taken off again: what is refused is what goes through Python's sockets, Unix
ones included. What compiled code would do by itself it does not see. Knows nothing of what the process is for.
"""

import sys

SPEAKING = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
    }
)
"""The events of Python's audit hooks with which a process turns to others, or lets them turn to it."""
_REFUSED = SPEAKING | {"socket.__new__"}  # a socket may listen at a port that it never asked for


def refuse_connections() -> None:
    """From here on every socket that is made or used in this process raises PermissionError."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _REFUSED:
        raise PermissionError(f"This process opens no connection ({event}).")
