"""Seeing connections: the number in the status line, the list behind one key, and what it says where there is none."""

import re
import socket
import threading
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app import connections
from app.connections import Connection, Ledger
from app.spoken import NONE, as_text
from app.tui.screens.connections import ConnectionsScreen, listed
from tests.app.tui.conftest import Opener, Window

SIZES = [(60, 18), (100, 30), (300, 80)]
NOON = datetime(2026, 3, 5, 12, 0, 9).timestamp()
MODEL = Connection(NOON, "hub.example:443", "download of a/model", "download", 4, 15_557, 4_300_000_000)
STARTER = Connection(NOON, "index.example:443", "the starter", "pip", 1, None, 93_000_000)
NAME = Connection(NOON, "name.example:80", "", "window", 0)


async def list_of(window: Window, key: str = "ctrl+right_square_bracket") -> ConnectionsScreen:
    await window.pilot.press(key)
    await window.until(lambda: isinstance(window.app.screen, ConnectionsScreen))
    await window.pilot.pause()
    screen = window.app.screen
    assert isinstance(screen, ConnectionsScreen)
    return screen


def once(text: str) -> str:
    """`text` with white space and frames as single spaces."""
    return re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_where_there_was_none_the_list_says_so_and_what_there_could_be(
    opened: Opener, size: tuple[int, int]
) -> None:
    async with opened(size=size) as window:
        await list_of(window)
        said = once(window.page)
        for words in (
            NONE,
            "huggingface.co, or what HF_ENDPOINT names",
            "package index",
            "are refused every connection",
        ):
            assert words in said


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_each_connection_has_when_whom_why_by_whom_and_how_much(
    opened: Opener, ledger: Ledger, size: tuple[int, int]
) -> None:
    for connection in (MODEL, STARTER, NAME):
        ledger.add(connection)
    async with opened(size=size) as window:
        screen = await list_of(window)
        page = window.page
        if size[1] < 20:
            await window.pilot.press("end")
            await window.until(lambda: screen.query_one("#connections").scroll_y > 0)
            page += window.page
        for words in (
            *("2026-03-05 12:00", "hub.example:443 ×4", "download of a/model", "15.2 KiB", "4.0 GiB"),
            *("index.example:443", "the starter", "pip", "88.7 MiB", "name.example:80 (looked up)", "no reason given"),
        ):
            assert words in page, page
        assert "6 connections · 15.2 KiB sent · 4.1 GiB received" in once(page)


async def test_a_connection_is_seen_in_the_status_line_and_in_the_open_list(opened: Opener) -> None:
    connections.watch("window")
    async with opened(size=(120, 30)) as window:
        assert "0 connections" in window.page
        await list_of(window)
        with socket.create_server(("127.0.0.1", 0)) as server:
            there = server.getsockname()
            elsewhere = threading.Thread(target=lambda: socket.create_connection(there).close())
            elsewhere.start()
            elsewhere.join()
        await window.until(lambda: connections.place(*there) in window.page)
        await window.pilot.press("escape")
        await window.until(lambda: f"{connections.ledger.count} connection" in window.page)
        assert "0 connections" not in window.page


async def test_the_number_stays_on_a_narrow_terminal_where_there_was_one(opened: Opener) -> None:
    async with opened(size=(60, 18)) as window:
        connections.ledger.note("elsewhere.example:443", "", "window")
        await window.until(lambda: "1 connection" in window.page)


@pytest.mark.parametrize("key", ["f2", "ctrl+right_square_bracket"])
async def test_the_key_that_opens_the_list_closes_it_and_it_can_be_typed_for(opened: Opener, key: str) -> None:
    async with opened() as window:
        await list_of(window, key)
        await window.pilot.press(key)
        await window.until(lambda: window.app.screen is window.app.chat)
        await window.command("/connections")
        await window.until(lambda: isinstance(window.app.screen, ConnectionsScreen))


async def test_the_list_is_copied_as_text(opened: Opener, ledger: Ledger) -> None:
    ledger.add(MODEL)
    async with opened() as window:
        await list_of(window)
        await window.pilot.press("c")
        await window.until(lambda: "Copied the list of connections." in window.notices)
        assert window.app.clipboard == (
            "2026-03-05 12:00:09  hub.example:443 ×4, download of a/model, by download: "
            "15.2 KiB sent, 4.0 GiB received\n"
            "4 connections · 15.2 KiB sent · 4.0 GiB received\n"
        )


async def test_a_window_that_has_closed_listens_no_more(opened: Opener, ledger: Ledger) -> None:
    async with opened() as window:
        await list_of(window)
    assert ledger._listeners == []


@pytest.mark.parametrize("width", [52, 110], ids=["narrow", "wide"])
def test_of_a_long_name_the_end_is_seen_which_says_whose_it_is(width: int) -> None:
    long = Connection(NOON, f"hub.example.{'x' * 200}.evil.example:443", "the starter", "pip", 3)
    lines = listed([long], width, date(2026, 3, 5)).plain
    assert "xxx.evil.example:443 ×3" in lines and "hub.example" not in lines
    assert long.host in as_text([long])


hostile = st.text(st.sampled_from("ab.:\x1b[31m\x07\u202e\n例え🙂[/] "), max_size=60)
counted = st.none() | st.integers(0, 1 << 50)
connected = st.builds(Connection, st.floats(0, 4e9), hostile, hostile, hostile, st.integers(0, 10**6), counted, counted)


@given(st.lists(connected, max_size=5), st.integers(30, 300))
def test_whatever_hosts_are_called_the_list_keeps_to_its_width_and_hides_nothing(
    rows: list[Connection], width: int
) -> None:
    lines = listed(rows, width, date(2026, 3, 5)).plain.split("\n")
    assert all(map(str.isprintable, lines)) and all(map(str.isprintable, as_text(rows).split("\n")))
    assert all(cell_len(line) <= width for line in lines[:-1])
