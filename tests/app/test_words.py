"""How numbers and days read."""

from datetime import date, datetime

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from app.words import Part, context, day, duration, fitting, memory, percent, ready, size, speed, tokens


def test_sizes_have_about_three_digits_and_binary_units() -> None:
    assert [size(count) for count in (0, 999, 1000, 98_362_432, 4_300_000_000)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "93.8 MiB",
        "4.0 GiB",
    ]


def test_days_read_as_one_says_them() -> None:
    today = date(2026, 3, 12)

    def said(year: int, month: int, number: int, hour: int) -> str:
        return day(datetime(year, month, number, hour).timestamp(), today)

    assert said(2026, 3, 12, 23) == "Today"
    assert said(2026, 3, 11, 1) == "Yesterday"
    assert said(2026, 3, 9, 12) == "Monday"
    assert said(2026, 1, 2, 12) == "2 January"
    assert said(2025, 1, 2, 12) == "2 January 2025"


def test_what_was_not_measured_is_not_said() -> None:
    assert speed(None, None, None) == "" and speed(1, 0.0, 0.25) == "TTFT 0.25 s"
    assert context(None, None) == "" and context(512, 8192) == "ctx 512 / 8,192"


def test_durations_tokens_and_memory_read_as_one_says_them() -> None:
    assert [duration(seconds) for seconds in (0.42, 9.97, 41.6, 59.7, 185, 3600, 7830)] == [
        "0.4 s",
        "10 s",
        "42 s",
        "1 min",
        "3 min 5 s",
        "1 h",
        "2 h 10 min",
    ]
    assert (tokens(1), tokens(1200)) == ("1 token", "1,200 tokens")
    assert (memory(None), memory(2_254_857_830)) == ("", "2.1 GiB")
    assert ready("Bread", 42) == "Answer ready in Bread · 42 s" and ready("\x1b", 42) == "Answer ready · 42 s"


def test_a_context_that_is_nearly_full_says_so_with_a_sign() -> None:
    assert context(7300, 8192) == "ctx 7,300 / 8,192"
    assert context(7900, 8192) == "ctx 7,900 / 8,192 !" and context(9000, 8192).endswith("!")
    assert context(None, 8192) == "ctx – / 8,192"


@given(st.floats(), st.text())
def test_no_duration_and_no_title_is_too_strange(seconds: float, title: str) -> None:
    assert duration(seconds).isprintable() and cell_len(ready(title, seconds)) < 120


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_no_progress_is_above_a_hundred(done: int, total: int) -> None:
    said = percent(done, total)
    assert said == "…" or int(said.removesuffix(" %")) <= 100


@given(st.lists(st.builds(Part, st.text(max_size=12), st.integers(0, 9)), max_size=8), st.integers(0, 60))
def test_what_is_kept_fits_and_nothing_lighter_is_kept_instead(parts: list[Part], width: int) -> None:
    kept = fitting(parts, width, 3)
    assert not kept or sum(cell_len(part.text) + 3 for part in kept) - 3 <= width
    dropped = [part.weight for part in parts if part.text and part not in kept]
    assert not dropped or not kept or max(dropped) <= max(part.weight for part in kept)
