"""Text from models, files and titles is data: whatever is in it, the terminal gets letters.

Every byte that the real window writes to its pty is looked at, while hostile text is streamed cut at every place.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.chat.store import Store
from app.settings import Paths
from tests.app.tui.window import converse
from tests.playing import ROOT, Script
from tests.watching import WatchedTerminal

SEQUENCES = {
    "clear the screen": "\x1b[2Jcleared",
    "an unusual colour": "\x1b[38;5;201mpink",
    "move the cursor": "\x1b[7;7Hmoved",
    "another title": "\x1b]0;retitled\x07",
    "write the clipboard": "\x1b]52;c;c3RvbGVu\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a device control string": "\x1bP$qm\x1b\\",
    "an application command": "\x1b_Gi=31;AAAA\x1b\\",
    "reset": "\x1bcreset",
    "one-byte sequences": "\x9b31mred\x9d0;titled\x9c\x90q\x9c",
    "control characters": "\x00\x05\x07\x08\x0b\x0c\x0e\x0f\x7f\x84\x85\x8d",
    "overwriting": "shown\rhidden",
    "bidi overrides": "\u202egnp.exe\u202c \u2066isolated\u2069 \u200f\u061c",
    "tags": "\U000e0001\U000e0041\U000e007f",
    "invisible": "\u200b\u2060\ufeff\xad\u180e",
}
HOSTILE = " ".join(SEQUENCES.values())
NESTED = f"{HOSTILE}\n\n```{HOSTILE}\n{HOSTILE}\n```\n\n| {HOSTILE} | b |\n|---|---|\n| c | {HOSTILE} |\n\n[{HOSTILE}](http://e.example/)\n\n"
MARK = "the end of it"

OWN = re.compile(
    r"\x1b\[[0-9;]*m"  # colours; the hostile one is looked for by itself
    r"|\x1b\[[0-9]+;[0-9]+H"  # to a place; likewise
    r"|\x1b\[[?>=<][0-9;]*\$?[a-zA-Z]"  # modes, and questions about them
    r"|\x1b\]22;[a-z]+\x07"  # the pointer's shape
    r"|\r?\n"
)
"""What Textual itself writes beside letters."""
ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2028\u2029\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)


@pytest.fixture
def window(places: Paths, tmp_path: Path) -> Iterator[WatchedTerminal]:
    """Conversations full of hostile text, and an engine that speaks more of it, a character at a time."""
    with Store.open(places.database) as store:
        converse(store, HOSTILE, NESTED, model=HOSTILE, title=HOSTILE)
        converse(store, NESTED, HOSTILE, model=f"model {HOSTILE}", title=f"title {HOSTILE}")
    script = Script([*NESTED, *MARK], 600.0, f"model {HOSTILE}")
    window = WatchedTerminal(script.command(tmp_path / "script.json"), ROOT, 120, 50)
    yield window
    window.close()


def test_no_hostile_byte_of_an_answer_a_title_or_a_model_reaches_the_terminal(window: WatchedTerminal) -> None:
    window.until("title", "model")
    window.type("\x1b[200~" + HOSTILE.replace("\x1b", "") + "\x1b[201~")
    window.type("\r")
    window.until(MARK, "tok/s")
    window.type("\x0c")  # the conversations, by title and words
    window.until("Search titles and messages")
    window.type("\x1b[B\r")
    window.watch(0.5)
    window.type("\x0f")  # the models, by name
    window.until("Switch model")
    window.type("\x1b")
    window.watch(0.5)
    window.type("\x11")
    assert window.ends() == 0

    written = window.received.decode()
    for name, sequence in SEQUENCES.items():
        assert sequence not in written, name
    assert "2Jcleared" in written  # its letters are there
    letters = OWN.sub("", written)
    assert [letters[max(0, found.start() - 20) : found.end() + 20] for found in ACTING.finditer(letters)] == []
