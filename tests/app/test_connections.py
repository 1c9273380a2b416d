"""The ledger of connections, and the hook that writes into it what this process really does."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import connections
from app.connections import Connection, Ledger

Watched = Callable[[Callable[[], object]], list[Connection]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What is written down while something is done."""
    connections.watch("window")

    def during(act: Callable[[], object]) -> list[Connection]:
        ledger = Ledger()
        with monkeypatch.context() as patch:
            patch.setattr(connections, "ledger", ledger)
            act()
        return list(ledger.connections)

    return during


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# --- the hook -------------------------------------------------------------------------------------


def test_a_connection_is_written_down_with_whom_to_and_by_which_process(watched: Watched, port: int) -> None:
    [one] = watched(lambda: socket.create_connection(("127.0.0.1", port)).close())
    assert (one.host, one.by, one.times) == (f"127.0.0.1:{port} (this machine)", "window", 1)
    assert one.sent is None and one.received is None, "the hook counts no bytes, and does not say that it does"


def test_what_a_connection_is_for_goes_with_it_also_into_threads_and_tasks(watched: Watched, port: int) -> None:
    def connect() -> None:
        socket.create_connection(("127.0.0.1", port)).close()

    async def asked() -> None:
        with connections.purpose("a task"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
        with connections.purpose("a thread"):
            await asyncio.to_thread(connect)
        connect()

    assert [one.why for one in watched(lambda: asyncio.run(asked()))] == ["a task", "a thread", ""]


def test_unix_sockets_datagrams_and_listening_are_written_down(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.chdir(tmp_path)  # a path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        [bound] = watched(lambda: server.bind("here"))
        server.listen()
        [connected] = watched(lambda: client.connect(b"here"))
    assert bound.host == "here (this machine), listening" and connected.host == "here (this machine)"
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        there = ("127.0.0.1", port)
        [sent] = watched(lambda: [datagrams.sendto(b"a", there), datagrams.sendmsg([b"b"], [], 0, there)])
    assert (sent.host, sent.times) == (f"127.0.0.1:{port} (this machine)", 2)


def test_an_address_is_shown_by_the_name_that_was_asked_for_just_before(watched: Watched) -> None:
    def connect() -> None:
        sys.audit("socket.getaddrinfo", "example.org", 443, 0, 0, 0)
        sys.audit("socket.connect", None, ("2001:db8::1", 443, 0, 0))
        sys.audit("socket.connect", None, ("192.0.2.1", 443))
        sys.audit("socket.connect", None, ("192.0.2.1", 80))

    named, other = watched(connect)
    assert (named.host, named.times) == ("example.org:443", 2)
    assert (other.host, other.times) == ("192.0.2.1:80", 1)


def test_a_name_that_was_only_asked_for_is_one_connection_too(watched: Watched, ledger: Ledger) -> None:
    [one] = watched(lambda: sys.audit("socket.gethostbyname", "example.org"))
    assert (one.host, one.times) == ("example.org", 0)
    ledger.add(one)
    assert ledger.count == 1


@pytest.mark.parametrize(
    ("host", "port", "shown"),
    [
        ("example.org", 443, "example.org:443"),
        ("2001:db8::1", 443, "[2001:db8::1]:443"),
        ("::1", 80, "[::1]:80 (this machine)"),
        ("127.8.9.1", None, "127.8.9.1 (this machine)"),
        ("localhost", 80, "localhost:80 (this machine)"),
        ("127.0.0.1.example.org", 80, "127.0.0.1.example.org:80"),
        ("localhost.example.org", 80, "localhost.example.org:80"),
    ],
)
def test_only_what_is_this_machine_is_called_so(host: str, port: int | None, shown: str) -> None:
    assert connections.place(host, port) == shown


junk = st.recursive(
    st.none() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)


@given(st.sampled_from(sorted(connections.SPEAKING)), st.lists(junk, max_size=4))
def test_whatever_a_socket_is_given_the_hook_lets_it_pass(event: str, arguments: list[object]) -> None:
    connections.watch("window")
    sys.audit(event, *arguments)


@pytest.mark.parametrize("arguments", [["quietly"], ["quietly", "models"]], ids=["window", "command"])
def test_the_program_watches_from_its_first_line_on(arguments: list[str], port: int) -> None:
    code = (
        "import socket, sys, app.__main__, app.cli, app.tui.app\n"
        "from app import connections\n"
        "def start():\n"
        f"    socket.create_connection(('127.0.0.1', {port}))\n"
        "    print(*[(one.host, one.by) for one in connections.ledger.connections])\n"
        "app.cli.run = app.tui.app.run_window = start\n"
        "sys.stdin.isatty = sys.stdout.isatty = sys.stderr.isatty = lambda: True\n"
        f"sys.argv = {arguments}\n"
        "app.__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    by = "window" if len(arguments) == 1 else "command"
    assert done.stdout == f"('127.0.0.1:{port} (this machine)', '{by}')\n", done.stderr


# --- the ledger -----------------------------------------------------------------------------------


class Clock:
    """Says the time that the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_same_again_within_a_minute_is_one_row_and_later_another() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for clock.now in (1000, 1050, 1100, 1200):
        ledger.note("example.org:443", "a model", "download", received=5)
    first, second = ledger.connections
    assert (first.at, first.times, first.received, first.sent) == (1000, 3, 15, None)
    assert (second.at, second.times) == (1200, 1) and ledger.count == 4
    ledger.note("example.org:443", "another model", "download")
    assert len(ledger.connections) == 3


steps = st.lists(
    st.one_of(
        st.builds(
            lambda host, why, times, sent, pause: (host, why, times, sent, pause),
            st.sampled_from("ab"),
            st.sampled_from("xy"),
            st.integers(0, 3),
            st.none() | st.integers(0, 9),
            st.integers(0, 90),
        ),
        st.none(),
    ),
    max_size=30,
)


@given(steps)
def test_what_one_process_tells_another_makes_the_same_list_there(steps: list[tuple[str, str, int, int, int] | None]):
    clock = Clock()
    told, kept = Ledger(clock), Ledger(lambda: 0.0)
    for step in [*steps, None]:
        if step is None:
            for connection in told.news():
                kept.add(connection)
            continue
        host, why, times, sent, pause = step
        clock.now += pause
        told.note(host, why, "download", times=times, sent=sent)
    assert set(kept.connections) == set(told.connections)
    assert told.news() == []


def test_nothing_is_lost_between_threads_and_a_listener_that_fails_stops_nobody() -> None:
    ledger = Ledger()
    heard: list[None] = []
    ledger.listen(lambda: 1 / 0)
    ledger.listen(listener := lambda: heard.append(None))

    def note() -> None:
        for _ in range(200):
            ledger.note("a", "", "window", sent=1)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [row] = ledger.connections
    assert row.times == row.sent == len(heard) == 800
    ledger.ignore(listener)
    ledger.note("a", "", "window")
    assert len(heard) == 800
