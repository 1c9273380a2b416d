"""Tokens written so that everything in them is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.text import visible
from app.spelling import spelled_bytes


@pytest.mark.parametrize(
    ("spelling", "shown"),
    [
        (b" the", "␣the"),
        (b"\n\t", "↵⇥"),
        (b"", ""),
        ("東京".encode(), "東京"),
        (b" \xe6", "␣‹E6›"),
        (b"\x9d", "‹9D›"),
        (b"a\xe4\xbab", "a‹E4›‹BA›b"),
        (b"\x1b[31m", "‹001B›[31m"),
        ("\u202e".encode(), "‹202E›"),
    ],
)
def test_bytes_are_written_as_text_and_what_is_none_by_its_numbers(spelling: bytes, shown: str) -> None:
    assert spelled_bytes(spelling) == shown


@given(st.binary(max_size=20))
def test_nothing_in_a_token_acts_on_a_terminal(spelling: bytes) -> None:
    shown = spelled_bytes(spelling)
    assert shown == visible(shown) and "\n" not in shown and bool(shown) == bool(spelling)
