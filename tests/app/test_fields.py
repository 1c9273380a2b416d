"""What a field takes, and how that is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fields import Field, Kind, expected, fits, shown
from app.generation import GENERATION_FIELDS
from app.settings import FIELDS
from app.tui.screens.form import misfit


def field(kind: Kind, low: float | None = None, high: float | None = None, unit: str = "") -> Field:
    return Field("it", "Things", "It", "What it is", kind, (("a", "An a"), ("b", "A b")), low, high, unit)


@pytest.mark.parametrize(
    ("asked", "words", "good", "bad"),
    [
        (field("switch"), "true or false", [True, False], [0, 1, "on", None]),
        (field("integer"), "a whole number", [0, -5, 10**30], [1.0, True, "1", None]),
        (field("integer", 1, 9000, "days"), "a whole number from 1 to 9,000 days", [1, 9000], [0, 9001]),
        (field("number", 0, 0.5), "a number from 0 to 0.5", [0, 0.25, 0.5], [-0.1, 0.51, float("nan"), True]),
        (field("number", low=2), "a number of at least 2", [2, 1e300], [1.9, float("inf")]),
        (field("number", high=2.5), "a number of at most 2.5", [2.5, -1e300], [2.6, float("-inf")]),
        (field("number", unit="seconds"), "a number of seconds", [3.5], ["3.5"]),
        (field("choice"), "one of a, b", ["a", "b"], ["c", "An a", None]),
        (field("line"), "text in one line", ["", "text"], ["two\nlines", 1, None]),
        (field("text"), "text", ["", "two\nlines"], [1, None]),
    ],
)
def test_a_field_takes_values_of_its_kind_and_says_which(
    asked: Field, words: str, good: list[object], bad: list[object]
) -> None:
    assert expected(asked) == words
    assert [fits(asked, value) for value in good] == [True] * len(good)
    assert [fits(asked, value) for value in bad] == [False] * len(bad)


@given(
    st.sampled_from((*FIELDS, *GENERATION_FIELDS)),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
)
def test_what_does_not_fit_is_said_in_one_line(asked: Field, value: object) -> None:
    said = misfit(asked, value)
    assert (said == "") == fits(asked, value)
    if said:
        assert said.startswith(f"{asked.label} must be {expected(asked)}, not ") and "\n" not in said


@pytest.mark.parametrize(
    ("value", "read"), [(True, "on"), (False, "off"), (8192, "8,192"), (0.1 + 0.2, "0.3"), ("a", "An a"), ("c", "c")]
)
def test_a_value_is_shown_as_people_read_it(value: object, read: str) -> None:
    assert shown(field("choice"), value) == read
