"""What is drawn stays in its cells, and a power is a straight line."""

from itertools import pairwise
from math import nextafter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from app.benching.curves import SEVERAL, Curve, drawn

LENGTHS = (256, 512, 1024, 2048, 4096)


def named(value: float) -> str:
    return f"{value:.3g} s"


def places(rows: list[str], sign: str) -> list[tuple[int, int]]:
    """Column and row, counted from below, of each place with that sign."""
    return [(x, -y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell == sign]


@pytest.mark.parametrize("power", [-1.0, 0.5, 1.0, 2.0])
def test_a_power_is_a_straight_line(power: float) -> None:
    rows = drawn([Curve("A", [(length, 3e-5 * length**power) for length in LENGTHS])], 80, named)
    marks = sorted(places(rows, "A"))
    assert len(marks) == len(LENGTHS)
    steps = {(x - before, y - lower) for (before, lower), (x, y) in pairwise(marks)}
    assert len(steps) == 1
    assert all((y > 0) == (power > 0) for _, y in steps)


def test_what_does_not_grow_is_level_and_what_grows_more_is_steeper() -> None:
    curves = [Curve("A", [(n, n**2) for n in LENGTHS]), Curve("B", [(n, 1.3e5) for n in LENGTHS])]
    rows = drawn(curves, 80, named)
    assert len({y for _, y in places(rows, "B")}) == 1
    assert len({y for _, y in places(rows, "A")}) == len(LENGTHS)


def test_the_axes_are_named() -> None:
    rows = drawn([Curve("A", [(length, length / 1000) for length in LENGTHS])], 80, named)
    assert rows[0].startswith("  4.1 s │") and rows[-3].startswith("0.256 s │")
    assert rows[-1].split() == ["256", "512", "1,024", "2,048", "4,096"]


def test_points_in_one_place_have_a_sign_of_their_own() -> None:
    rows = drawn([Curve("A", [(1, 1.0), (2, 2.0)]), Curve("B", [(1, 1.0), (2, 1.5)])], 80, named)
    assert len(places(rows, SEVERAL)) == 1 and len(places(rows, "A")) == len(places(rows, "B")) == 1


def test_times_that_differ_by_less_than_their_logarithms_lie_level() -> None:
    rows = drawn([Curve("A", [(1, 1e-7), (2, nextafter(1e-7, 1))])], 80, named)
    assert len(places(rows, "A")) == 2 and len({y for _, y in places(rows, "A")}) == 1


def test_one_length_is_no_curve() -> None:
    assert drawn([Curve("A", [(256, 1.0)]), Curve("B", [(256, 2.0)])], 80, named) == drawn([], 80, named) == []


point = st.tuples(st.integers(1, 1 << 20), st.floats(1e-7, 1e12))
anything = st.lists(st.lists(point, max_size=8, unique_by=lambda each: each[0]).map(sorted), max_size=4)


@given(anything, st.integers(1, 200))
@settings(max_examples=40)
def test_whatever_is_drawn_stays_in_its_cells(points: list[list[tuple[int, float]]], width: int) -> None:
    curves = [Curve(sign, each) for sign, each in zip("ABCD", points, strict=False)]
    rows = drawn(curves, width, named)
    assert all(cell_len(row) <= max(width, 34) for row in rows)
    marks = sum(len(places(rows[:-2], sign)) for sign in "ABCD*")
    assert bool(rows) is (len({length for each in points for length, _ in each}) > 1)
    assert marks <= sum(map(len, points)) and bool(marks) is bool(rows)
