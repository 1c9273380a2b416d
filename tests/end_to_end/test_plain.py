"""Plain mode at a real terminal: nothing but letters and line ends reaches it, and it ends when it is asked to."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat.store import Store
from app.settings import Paths, save_settings
from tests.app.tui.window import converse
from tests.end_to_end.keys import CTRL_C, CTRL_D, ENTER
from tests.end_to_end.test_hostile_text import ACTING, HOSTILE, NESTED
from tests.terminal import PLAIN
from tests.watching import WatchedTerminal


@pytest.fixture
def terminal(places: Paths, tmp_path: Path) -> Iterator[WatchedTerminal]:
    """In a conversation full of hostile text; no model is loaded for it."""
    save_settings(places.settings, {"load_at_start": False})
    with Store.open(places.database) as store:
        converse(store, NESTED, HOSTILE, model=f"model {HOSTILE}", title=f"title {HOSTILE}")
    terminal = WatchedTerminal(PLAIN, tmp_path, 100, 40)
    terminal.until("/read reads it.")
    terminal.until_it_waits("You:")
    yield terminal
    terminal.close()


def test_only_letters_and_line_ends_are_written(terminal: WatchedTerminal) -> None:
    for command in ("/read", "/open", "/search cleared", "/versions", "/help", "/tune", "/model", "/nowhere"):
        terminal.type(command + ENTER)
        terminal.until(command)
        terminal.until_it_waits("You:")
    terminal.type(CTRL_D)
    assert terminal.ends() == 0
    written = terminal.received.decode()
    assert "2Jcleared" in written
    assert ACTING.findall(re.sub("\r*\n|\t", "", written)) == []


def test_ctrl_c_twice_leaves(terminal: WatchedTerminal) -> None:
    terminal.type(CTRL_C)
    terminal.until("Press Ctrl+C again")
    terminal.until_it_waits("You:")
    terminal.type(CTRL_C)
    assert terminal.ends() == 0


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_when_it_is_asked_to(terminal: WatchedTerminal, asked: signal.Signals) -> None:
    os.kill(terminal.pid, asked)
    assert terminal.ends() == 128 + asked
