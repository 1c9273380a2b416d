"""What a terminal sends becomes keys and pastes, and a paste stays one whatever is in it."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from app.tui.driver import PasteParser

BEGIN, END = "\x1b[200~", "\x1b[201~"


def parsed(*pieces: str) -> list[tuple[str, str | None]]:
    """The keys and pastes in what arrived in `pieces`."""
    parser = PasteParser()
    found: list[tuple[str, str | None]] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, events.Paste):
                found.append(("paste", event.text))
            elif isinstance(event, events.Key):
                found.append((event.key, event.character))
    return found


def test_an_escape_sequence_in_a_paste_is_text_and_its_line_end_no_enter() -> None:
    pasted = "one \x1b[31mred\rtwo \x1b]0;title\x07\r"
    assert parsed(f"a{BEGIN}{pasted}{END}b") == [("a", "a"), ("paste", pasted), ("b", "b")]


@given(st.text().filter(lambda text: END not in text and "\0" not in text), st.lists(st.integers(0, 200)))
def test_a_paste_is_the_same_in_however_many_pieces_it_comes(text: str, cuts: list[int]) -> None:
    sent = f"{text}{END}x"
    places = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
    pieces = [sent[start:end] for start, end in pairwise(places)]
    assert parsed(BEGIN, *filter(None, pieces)) == [("paste", text), ("x", "x")]


def test_keys_around_it_are_keys() -> None:
    assert [key for key, _ in parsed("\x1b[A\x0e", "h\r")] == ["up", "ctrl+n", "h", "enter"]


def test_a_long_paste_in_many_pieces_is_put_together_once() -> None:
    # What each piece costs must not grow with what came before it: 16 MB in pieces of a pty's size.
    pasted = "x" * (1 << 24)
    sent = f"{pasted}{END}"
    pieces = [sent[start : start + 1024] for start in range(0, len(sent), 1024)]
    began = time.process_time()
    assert parsed(BEGIN, *pieces) == [("paste", pasted)]
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1b\r", ["alt+enter"]),
        ("\x1b\x1b[D\x1b\x1b[C", ["alt+left", "alt+right"]),
        ("\x1bd\x1bd\x1bD", ["alt+d", "alt+d", "alt+shift+d"]),
        ("\x1bb\x1bf", ["ctrl+left", "ctrl+right"]),
        ("\x1bOA\x1b[A\r", ["up", "up", "enter"]),
    ],
)
def test_option_as_meta_is_option_however_fast_the_keys_come(sent: str, keys: list[str]) -> None:
    assert [key for key, _ in parsed(sent)] == keys


def test_a_key_without_its_number_costs_itself() -> None:
    assert parsed("\x1b[98:66;4ux") == [("x", "x")]
