"""What a terminal sends becomes keys and pastes, and a paste stays one whatever is in it."""

from itertools import pairwise

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
