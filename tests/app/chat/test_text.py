"""What reaches the terminal: nothing that acts on it, and everything that can be read."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from app.chat.text import one_line, storable, visible

ANY = st.text(st.characters(codec=None, categories=None), max_size=200)  # surrogates included
FORBIDDEN = {
    *(set(range(0x20)) - {0x09, 0x0A}),
    *range(0x7F, 0xA0),
    *(0x061C, 0x200B, 0x200E, 0x200F),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    *(0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB),
    *range(0xD800, 0xE000),
    *range(0xE0000, 0xE0080),
}
HOSTILE = st.text(st.sampled_from(sorted(map(chr, FORBIDDEN))) | st.sampled_from("a \n\t東😀"), max_size=60)


@given(ANY | HOSTILE)
def test_nothing_that_acts_on_a_terminal_is_ever_shown(text: str) -> None:
    assert FORBIDDEN.isdisjoint(map(ord, visible(text)))


@given(ANY | HOSTILE)
def test_safe_text_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)


def test_every_single_code_point_is_either_forbidden_or_shown() -> None:
    # Soft hyphen and the Mongolian vowel separator have no agreed width: they would shift what follows them.
    hidden = FORBIDDEN | {0xAD, 0x180E}
    for point in range(0x110000):
        if point not in hidden:
            assert visible(chr(point)) == chr(point)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Cn", "Co"])))
def test_what_can_be_printed_is_unchanged(text: str) -> None:
    assert visible(text) == text


def test_emoji_sequences_and_scripts_that_need_joiners_are_unchanged() -> None:
    for text in ("👩‍👩‍👧‍👦", "❤️", "🏳️‍🌈", "क्‍ष", "می‌خواهم", "東京で学习", "שלום", "مرحبا", "é"):
        assert visible(text) == text


@given(ANY | HOSTILE, st.integers(0, 200))
def test_it_makes_no_difference_where_a_stream_was_cut(text: str, cut: int) -> None:
    assert visible(text[:cut]) + visible(text[cut:]) == visible(text)


def test_line_ends_of_every_kind_are_one_line_feed() -> None:
    assert visible("a\r\nb\x0bc\x0cd\x85e\u2028f\u2029g\nh") == "a\nb\nc\nd\ne\nf\ng\nh"
    assert visible("over\rwritten") == "overwritten"


def test_escape_sequences_lose_what_made_them_one() -> None:
    assert visible("\x1b]52;c;c3RvbGVu\x07 \x1b[2J\x9b31m") == "]52;c;c3RvbGVu [2J31m"


@given(ANY)
def test_any_text_can_be_stored_and_valid_text_is_stored_as_it_is(text: str) -> None:
    stored = storable(text)
    stored.encode()
    if not any(unicodedata.category(character) == "Cs" for character in text):
        assert stored == text


def test_halves_of_a_pair_are_joined_and_lone_ones_are_marked() -> None:
    assert storable("a\ud83d\ude00b\ud83dc\ude00") == "a😀b\ufffdc\ufffd"


@given(ANY | HOSTILE, st.integers(1, 30))
def test_a_title_is_one_safe_line_that_fits(text: str, width: int) -> None:
    title = one_line(text, width)
    assert "\n" not in title
    assert "\t" not in title
    assert visible(title) == title
    cells = sum(
        0
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in title
    )
    assert cells <= width


def test_a_title_is_the_first_line_with_words_in_it() -> None:
    assert one_line(" \n\t\n  Why  is\tthe sky blue?  \nAnd why not green?") == "Why is the sky blue?"
    assert one_line("\x1b\n\u200b\n") == ""


def test_a_long_title_is_cut_by_cells_with_an_ellipsis() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("東京東京", 7) == "東京東…"
    assert one_line("東京東京", 6) == "東京…"
    assert one_line("word " * 20, 8) == "word wo…"
