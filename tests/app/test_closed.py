"""Engines and what reads files and models speak to nobody: each way a socket has is tried in the process itself."""

import subprocess
import sys

import pytest

ATTEMPTS = """
import socket, sys
inet, datagram, unix = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
there = ("127.0.0.1", 9)
acts = {
    "connect": lambda: inet.connect(there),
    "connect_ex": lambda: inet.connect_ex(there),
    "connect to a path": lambda: unix.connect("nowhere"),
    "bind": lambda: inet.bind(("127.0.0.1", 0)),
    "bind to a path": lambda: unix.bind("nowhere"),
    "sendto": lambda: datagram.sendto(b"word", there),
    "sendmsg": lambda: datagram.sendmsg([b"word"], [], 0, there),
    "getaddrinfo": lambda: socket.getaddrinfo("localhost", 9),
    "gethostbyname": lambda: socket.gethostbyname("localhost"),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex("localhost"),
    "gethostbyaddr": lambda: socket.gethostbyaddr("127.0.0.1"),
    "getnameinfo": lambda: socket.getnameinfo(there, 0),
    "a new socket": lambda: socket.socket(),
    "a pair of sockets": lambda: socket.socketpair(),
    "create_connection": lambda: socket.create_connection(there),
    "create_server": lambda: socket.create_server(("127.0.0.1", 0)),
}
def attempt():
    for name, act in acts.items():
        try:
            act()
        except PermissionError as error:
            said = str(error)
        except OSError as error:
            said = f"went through to the system: {error}"
        else:
            said = "was done"
        print(f"{name}: {said}", file=sys.stderr)
"""
ENGINE = """
from app.engine import worker
worker.Worker.serve = lambda self, stream: attempt()
worker.main()
"""
READER = """
from app.attaching import reader
reader.text_of = lambda path: attempt() or ""
reader.main()
"""
INSPECTING = """
from app.inspecting import reader
reader._Reader = attempt
reader.main()
"""


@pytest.mark.parametrize("process", [ENGINE, READER, INSPECTING], ids=["engine", "reader", "inspecting"])
def test_every_way_to_speak_is_refused(process: str) -> None:
    command = [sys.executable, "-c", ATTEMPTS + process]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
    said = dict(line.split(": ", 1) for line in done.stderr.splitlines() if ": " in line and "INFO" not in line)
    assert len(said) == ATTEMPTS.count("lambda"), done.stderr
    assert all(answer.startswith("This process opens no connection (socket.") for answer in said.values()), said
