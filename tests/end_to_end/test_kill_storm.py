"""The whole program killed again and again in the middle of use: what had been said and shown is there afterwards.

One installation goes through all lives. The model babbles in letters of its own, so that what the screen showed of
an answer can be looked up in what was stored.
"""

import random
import sqlite3
import time
from pathlib import Path

import pytest

from app.chat.store import Store
from app.settings import Paths
from tests.babbling import babble_on, babbling_checkpoint, letters
from tests.terminal import WINDOW
from tests.watching import WatchedTerminal

SEED = 20261123
BLINK = 0.5
"""Seconds: what has been on the screen for longer is stored."""
BAR = "▌"
"""Stands before each row of the person's own messages."""
SCROLL_BAR = " ▁▂▃▄▅▆▇█▔"
"""What the end of the scroll bar looks like, at the end of a row."""
ENTER, ESCAPE, TAB, UP, DOWN = "\r", "\x1b", "\t", "\x1b[A", "\x1b[B"
CTRL_B, CTRL_L, CTRL_N = "\x02", "\x0c", "\x0e"

Words = dict[int, str]


class Life:
    """One run of the program: a person who types, sends, stops, switches and edits, until the lights go out."""

    def __init__(self, number: int, dice: random.Random, cwd: Path) -> None:
        self._number, self._dice = number, dice
        self._said = 0
        self.window = WatchedTerminal(WINDOW, cwd)

    def run(self, seconds: float) -> None:
        """Use the program for so long."""
        end = time.monotonic() + seconds
        acts = [self._send] * 5 + [self._edit] * 2
        acts += [self._type, self._stop, self._switch, self._new, self._look_around]
        self.window.watch(min(seconds, 0.45))
        while (left := end - time.monotonic()) > 0:
            act = self._dice.choice(acts)
            act()
            patience = self._dice.uniform(0.3, 2.0) if act == self._send else self._dice.uniform(0.05, 0.3)
            self.window.watch(min(left, patience))

    def _type(self) -> None:
        # Without the letter that deletes: the focus may be on a list.
        self.window.type(self._dice.choice(["a few notes ", "noch mehr", "é東 "]))

    def _send(self) -> None:
        self._said += 1
        self.window.type(f"question {self._said} of life {self._number}" + ENTER)

    def _stop(self) -> None:
        self.window.type(ESCAPE)

    def _switch(self) -> None:
        self.window.type(CTRL_L)
        self.window.watch(0.2)
        self.window.type(DOWN * self._dice.randrange(4) + ENTER)

    def _new(self) -> None:
        self.window.type(CTRL_N)

    def _edit(self) -> None:
        """The last question once more, with other words."""
        self.window.type("\x1b[Z" + UP + "k" * self._dice.randrange(3) + "e")
        self.window.watch(0.2)
        # Elsewhere these letters would be acts on messages.
        self.window.type(" edited" + ENTER if "Editing" in self.window.text else ESCAPE)

    def _look_around(self) -> None:
        self.window.type(self._dice.choice([CTRL_B, TAB, "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[F"]))


def questions_on(screen: str) -> list[str]:
    """What the transcript on `screen` has of the person's messages, row by row, as letters."""
    rows = [row.split(BAR) for row in screen.splitlines() if row.lstrip().startswith(BAR)]
    return [letters(cells[1].rstrip(SCROLL_BAR)) for cells in rows if not cells[0][2:] and "question" in cells[1]]


def committed(database: Path) -> tuple[Words, Words]:
    """The messages in the file, as another program sees them: finished ones, and those being written."""
    if not database.exists():
        return {}, {}
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'messages'").fetchone()[0]
        rows = connection.execute("SELECT id, content, status FROM messages").fetchall() if tables else []
    connection.close()
    return (
        {key: content for key, content, status in rows if status != "writing"},
        {key: content for key, content, status in rows if status == "writing"},
    )


def die_and_look(places: Paths, life: Life, seconds: float) -> int:
    """Live for `seconds`, die, and see that all is there; returns how many pieces of answers the screen had shown."""
    life.run(seconds)
    finished, writing = committed(places.database)
    shown = life.window.screen_before(life.window.kill() - BLINK)
    life.window.close()

    with Store.open(places.database) as store:
        connection = store._connection
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        found = {
            message: (content, status)
            for message, content, status in connection.execute("SELECT id, content, status FROM messages")
        }
        for conversation in store.conversations():
            store.branch(conversation.id)
    assert "writing" not in {status for _, status in found.values()}
    for message, content in finished.items():
        assert found[message][0] == content
    for message, content in writing.items():
        assert found[message][0].startswith(content)
    stored = [letters(content) for content, _ in found.values()]
    for words in (*babble_on(shown), *questions_on(shown)):
        assert any(words in text for text in stored), f"shown half a second before, not stored: {words}\n{shown}"
    return len(babble_on(shown))


def storm(places: Paths, tmp_path: Path, lives: int, seed: int) -> None:
    dice = random.Random(seed)
    model = babbling_checkpoint(places.models / "babbler")
    with Store.open(places.database) as store:
        store.remember("model", str(model))
    pieces = 0
    for number in range(lives):
        seconds = dice.uniform(0.0, 1.2) if dice.random() < 0.25 else dice.uniform(1.2, 3.8)
        life = Life(number, dice, tmp_path)
        try:
            pieces += die_and_look(places, life, seconds)
        except BaseException as error:
            error.add_note(f"life {number} of {lives}, {seconds:.3f} s long, seed {seed}; its last screen:")
            error.add_note(life.window.text)
            for report in places.logs.glob("crash*"):
                error.add_note(report.read_text())
            raise
        finally:
            life.window.close()
    with Store.open(places.database) as store:
        conversations = store.conversations()
        answers = [
            message
            for conversation in conversations
            for message in store.branch(conversation.id)
            if message.role == "assistant"
        ]
    # The storm was one: people got answers, and some of them died half said.
    assert pieces >= lives // 4
    assert len(answers) >= lives // 2
    assert any(message.status == "interrupted" and message.content for message in answers)


@pytest.mark.soak
def test_nothing_said_or_shown_is_lost_in_a_hundred_lives(places: Paths, tmp_path: Path) -> None:
    storm(places, tmp_path, 100, SEED)
