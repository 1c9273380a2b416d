"""Whatever was measured can be told: in the cells there are, in words that are safe to show, and as data."""

import json

import msgspec
import pytest
from hypothesis import given, settings, strategies
from rich.cells import cell_len

from app.benching.messages import Bandwidth, Decode, Prefill, Prepared, Restore, Sample, Turn
from app.benching.rounds import Entry, Figure, Plan, Report
from app.benching.telling import as_data, chart, notes, number, set_up, table
from app.chat.text import visible
from tests.app.benching.conftest import reports

PLAN = Plan(prompts=(128, 2048), depths=(0, 4096), answer=64)


def figure(*seconds: float, read: int | None = None) -> Figure:
    return Figure([Sample(one, 600 * 1024**2, read) for one in seconds])


@pytest.fixture
def report() -> Report:
    """Two that were measured, one ten times as fast as the other."""
    prepared = Prepared("MLX 1.2", "a chip (CPU)", (("numbers", "float32"), ("prompt", "64 tokens at once")), 8192)

    def entry(name: str, times: float) -> Entry:
        return Entry(
            name,
            prepared,
            {
                Prefill(128): figure(0.5 * times, 0.4 * times, 0.6 * times),
                Prefill(2048): figure(8 * times),
                Decode(0, 64): figure(3.2 * times, read=500 * 10**6),
                Decode(4096, 64): figure(6.4 * times, read=600 * 10**6),
                PLAN.cold: figure(32 * times),
                Turn(4096, 50): figure(0.4 * times),
                Restore(4096, 50): figure(0.8 * times),
            },
        )

    host = entry("quietly", 1)
    host.figures[Bandwidth(256 * 1024**2)] = Figure([Sample(1.0, read=20 * 10**9)])
    return Report("a model", PLAN, [host, entry("mlx-lm", 10)])


def told(lines) -> str:
    return "\n".join(line.text for line in lines)


def test_the_table_has_every_figure_and_how_many_times_faster(report: Report) -> None:
    rows = {line.split()[0]: line.split() for line in told(table(report, 100)).split("\n")}
    assert rows["128"] == ["128", "256", "±20%", "25.6", "±20%", "10.0×"]
    assert rows["warm"] == ["warm", "0.400", "4.00", "10.0×"]
    assert rows["cold"] == ["cold", "32.0", "320", "10.0×"]
    percents = [line.split() for line in told(table(report, 100)).split("\n") if "%" in line and "±" not in line]
    assert percents == [["0", "50%", "5%"], ["4,096", "30%", "3%"]]
    assert "600 MiB" in told(table(report, 100))


def test_a_narrow_table_leaves_out_spreads_then_ratios_and_no_figure(report: Report) -> None:
    wide, narrow, narrowest = (told(table(report, width)) for width in (100, 36, 10))
    assert "±" in wide and "×" in wide
    assert "±" not in narrow and "10.0×" in narrow
    assert "±" not in narrowest and "×" not in narrowest
    for text in (wide, narrow, narrowest):
        assert all(figure in text for figure in ("256", "25.6", "0.400", "32.0", "50%"))


def test_columns_stand_below_their_names(report: Report) -> None:
    lines = [line.text for line in table(report, 100)]
    cells = [line for line in lines if line.split()[0] in ("quietly", "2,048", "4,096", "warm")]
    (end,) = {line.index(value) + len(value) for line in cells[:1] for value in ("quietly",)}
    assert all(line[end - 1].strip() and line[end : end + 2] == "  " for line in cells)


def test_every_bar_has_its_name_and_its_number(report: Report) -> None:
    reading, writing, waiting = told(chart(report, 100)).split("\n\n")
    assert "quietly" in reading and "mlx-lm" in reading and "256" in reading
    assert writing.count("limit") == 2 and "░" in writing and "40.0" in writing
    assert "less is better" in waiting and "restored" in waiting


@given(reports(), strategies.integers(20, 200))
@settings(max_examples=30)
def test_whatever_came_out_can_be_told(report: Report, width: int) -> None:
    lines = [*table(report, width), *chart(report, width), *set_up(report), *notes(report)]
    assert all(line.text == visible(line.text).replace("\n", " ") for line in lines)
    json.loads(msgspec.json.encode(as_data(report)))
    for line in chart(report, max(width, 60)):
        assert cell_len(line.text) <= max(width, 60)


def test_the_longest_bar_belongs_to_the_largest_figure(report: Report) -> None:
    group = told(chart(report, 100)).split("\n\n")[0]
    bars = {line.split()[-1]: line.count("█") for line in group.split("\n") if "█" in line}
    assert bars["256"] == max(bars.values()) and bars["25.6"] == pytest.approx(bars["256"] / 10, abs=1)


def test_a_limit_far_away_ends_with_a_sign(report: Report) -> None:
    report.entries[0].figures[Bandwidth(256 * 1024**2)] = Figure([Sample(1.0, read=10**13)])
    assert "░… " in told(chart(report, 100))


def test_what_was_left_out_is_told_once_for_each_reason(report: Report) -> None:
    report.entries[1].figures[Prefill(2048)] = Figure(why="it would take about 3 min")
    report.entries[1].figures[PLAN.cold] = Figure(why="it would take about 3 min")
    report.entries[1].ended = "mlx-lm ended early: try again."
    assert told(notes(report)).split("\n") == [
        "mlx-lm: a prompt of 2,048, a prompt of 4,146: it would take about 3 min.",
        "mlx-lm: mlx-lm ended early: try again.",
    ]
    assert "–" in told(table(report, 100))


def test_the_data_has_every_sample(report: Report) -> None:
    data = as_data(report)
    figures = {(one["what"], one.get("tokens"), one.get("depth")): one for one in data["runners"][0]["figures"]}
    assert figures["prefill", 128, None]["samples"] == [0.5, 0.4, 0.6]
    assert figures["decode", 64, 4096]["tokens_per_second"] == 10
    assert figures["decode", 64, 4096]["share_of_limit"] == pytest.approx(0.3)
    assert data["bytes_per_second"] == 20e9 and data["runners"][1]["memory_bytes"] == 600 * 1024**2
    assert {one["what"] for one in data["runners"][0]["figures"]} == {"prefill", "decode", "cold", "warm", "restored"}


def test_numbers_have_about_three_digits() -> None:
    shown = [number(value) for value in (None, 0.0, 0.123, 9.994, 9.996, 12.34, 99.94, 99.96, 12345.6)]
    assert shown == ["–", "0.000", "0.123", "9.99", "10.0", "12.3", "99.9", "100", "12,346"]
