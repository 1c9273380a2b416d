"""What is said of how something grows holds of what was measured; the networks that are compared are of one size."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.benching.growing import reading, table
from app.benching.messages import Prefill, Sample, Thing
from app.benching.rounds import Report, measure
from app.benching.runner import Untrained
from app.benching.scaling import Points, as_data, crossing, exponent, growth, networks, plan_for
from app.benching.telling import set_up
from app.chat.text import visible
from app.cli.bench import bench
from app.cli.scaling import drawn
from app.errors import QuietlyError
from app.inspecting.told import Line
from model.config import parse_config
from tests.app.benching.conftest import Player, Stage, reports
from tests.app.library.children import children
from tests.watching import WatchedTerminal

LENGTHS = plan_for(gpu=False, quick=False).prompts
lengths = st.lists(st.integers(1, 1 << 20), min_size=3, max_size=12, unique=True).map(sorted)


def times(of: Callable[[int], float], lengths=LENGTHS) -> Points:
    return [(length, of(length)) for length in lengths]


@given(lengths, st.floats(-1, 3), st.floats(1e-9, 1e3))
def test_the_power_is_found_whatever_the_unit(lengths: list[int], power: float, unit: float) -> None:
    found = exponent(times(lambda length: unit * length**power, lengths))
    assert found.value == pytest.approx(power, abs=1e-6) and found.error == pytest.approx(0, abs=1e-6)


@given(lengths, st.lists(st.floats(0.5, 2), min_size=12, max_size=12), st.floats(1e-3, 1e3))
def test_neither_power_nor_error_depends_on_the_unit(lengths: list[int], off: list[float], unit: float) -> None:
    points = [(length, length**1.5 * share) for length, share in zip(lengths, off, strict=False)]
    found, scaled = exponent(points), exponent([(length, unit * value) for length, value in points])
    assert scaled == (pytest.approx(found.value, abs=1e-6), pytest.approx(found.error, abs=1e-6))


def test_the_error_is_that_of_the_textbook() -> None:
    """Worked out by hand, in doublings: 0, 2 and 2 stand at 0, 1 and 2; the line misses them by -1/3, 2/3 and -1/3."""
    found = exponent([(1, 1.0), (2, 4.0), (4, 4.0)])
    assert found == (pytest.approx(1.0), pytest.approx((6 / 9 / 1 / 2) ** 0.5))


def test_two_points_have_a_slope_without_an_error_and_one_has_none() -> None:
    assert exponent([(100, 1.0), (200, 4.0)]) == (pytest.approx(2.0), None)
    assert exponent([(100, 1.0)]) is None and exponent([]) is None


@given(st.floats(1, 1e5), st.floats(1e-9, 1e3))
def test_the_length_is_found_at_which_a_square_overtakes(length: float, unit: float) -> None:
    assert crossing(times(lambda n: unit * (n + n * n / length))) == pytest.approx(length, rel=1e-3)


def test_what_grows_with_the_length_alone_is_overtaken_nowhere() -> None:
    assert crossing(times(lambda n: 3.0 * n**0.9)) is None
    assert crossing(times(lambda n: 3.0 * n**2.2)) is None
    assert crossing([(1, 1.0), (2, 3.0)]) is None


@pytest.mark.parametrize("gpu", [False, True])
def test_the_three_are_of_one_size(gpu: bool) -> None:
    from mlx.utils import tree_flatten

    from model.registry import OURS

    configs = [parse_config(fields, name) for name, fields in networks(gpu).items()]
    parameters = [tree_flatten(OURS[config.model_type](config).parameters()) for config in configs]
    counts = [sum(array.size for _, array in arrays) for arrays in parameters]
    assert max(counts) <= 1.02 * min(counts)
    assert all(config.context > max(plan_for(gpu, quick=False).prompts) for config in configs)


@pytest.mark.parametrize("gpu", [False, True])
def test_lengths_double_and_a_short_look_takes_the_first_of_them(gpu: bool) -> None:
    whole, quick = (plan_for(gpu, quick).prompts for quick in (False, True))
    assert all(longer == 2 * shorter for shorter, longer in pairwise(whole)) and whole[: len(quick)] == quick


# --- what is told ---------------------------------------------------------------------------------------------------


def grown(thing: Thing, name: str) -> Sample:
    """As theory has it: attention by a part and its square, the others by the length; RWKV keeps the same."""
    assert isinstance(thing, Prefill)
    length = thing.tokens
    seconds = 1e-4 * length * (1 + length / 1000 if name == "attention" else 1.2)
    kept = {"attention": 2048 * length, "window": 2048 * min(length, 768), "RWKV-7": 67584}[name]
    return Sample(seconds, memory=kept + (1 << 20), kept=kept)


@pytest.fixture
async def report() -> Report:
    report = Report("scaling", replace(plan_for(gpu=False, quick=False), rounds=2))
    stage = Stage()
    await measure(
        report, [partial(Player, name, stage, partial(grown, name=name), context=1 << 20) for name in networks(False)]
    )
    return report


def told(lines: list[Line]) -> str:
    return "\n".join(line.text for line in lines)


def test_the_table_has_each_time_and_what_it_grows_by(report: Report) -> None:
    cells = [re.split(r"\s{2,}", line.text.strip()) for line in table(report)]
    rows = {name: found for name, *found in cells}
    (fitted, *others), (last, *_) = ([cell.split() for cell in rows[name]] for name in ("exponent", "at the end"))
    assert 1.3 < float(fitted[0]) < float(last[0]) < 2
    assert others == [["1.00", "±0.00"]] * 2
    assert rows["each more"] == ["2.0 KiB", "0 B", "0 B"]


async def test_what_is_disturbed_in_one_round_bends_nothing(report: Report) -> None:
    before = [growth(entry, report.plan) for entry in report.entries]
    for entry in report.entries:
        for length in LENGTHS[1::2]:
            entry.figure(Prefill(length)).samples.insert(1, Sample(100.0, kept=1))
    assert [growth(entry, report.plan) for entry in report.entries] == before


async def test_who_challenges_is_as_flat_as_its_memory(report: Report) -> None:
    found = {entry.name: growth(entry, report.plan) for entry in report.entries}
    assert found["attention"].each_more == 2048 and found["window"].each_more == found["RWKV-7"].each_more == 0
    assert found["attention"].crossing == pytest.approx(1000)
    assert "attention longer than all else from about 1,000 tokens on" in told(reading(report))


def test_a_look_that_is_too_short_says_so(report: Report) -> None:
    report.plan = replace(report.plan, prompts=(256, 512, 768))
    assert "Up to 512 tokens looking back takes attention less time than all else" in told(reading(report))


def test_those_who_compute_alike_are_told_in_one_line(report: Report) -> None:
    assert told(set_up(report)) == "attention, window, RWKV-7: MLX 1; a chip (CPU); numbers: float32"


def test_the_data_has_every_sample_and_what_was_fitted(report: Report) -> None:
    data = as_data(report)
    attention, window, rwkv = data["networks"]
    assert [figure["tokens"] for figure in attention["figures"]] == list(LENGTHS)
    assert all(len(figure["samples"]) == 2 and figure["memory_bytes"] for figure in attention["figures"])
    assert attention["exponent"] > 1.3 and window["exponent"] == pytest.approx(1) and rwkv["bytes_per_token"] == 0
    assert attention["exponent_error"] > 0.01 > window["exponent_error"]


@given(reports(), st.integers(20, 200))
@settings(max_examples=20)
def test_whatever_came_out_can_be_told(report: Report, width: int) -> None:
    lines = [line for part in drawn(report, width) for line in part]
    assert all(line.text == visible(line.text).replace("\n", " ") for line in lines)
    json.loads(msgspec.json.encode(as_data(report)))


# --- the processes --------------------------------------------------------------------------------------------------

STATE = 2 * (128 * 64 + 2 * 128) * 4
"""Bytes, of two layers."""
KEYS_AND_VALUES = 2 * 2 * 128 * 4
"""A token's."""


async def test_what_was_never_trained_is_measured_in_a_process_of_its_own() -> None:
    runner = Untrained("RWKV-7", networks(gpu=False)["RWKV-7"])
    prepared = await runner.prepare(lambda done, total: None)
    sample = await runner.measure(Prefill(40))
    await runner.close()
    assert isinstance(sample, Sample) and sample.seconds > 0
    assert sample.kept == STATE and sample.memory > 4 * prepared.parameters
    assert not children("app.benching.measurer")


@pytest.mark.soak
def test_the_command_measures_all_three_in_processes_of_their_own() -> None:
    command = [sys.executable, "-P", "-m", "app", "bench", "--scaling"]
    options = ("--prompt", "40,20", "--rounds", "1", "--json")
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    found = {one["name"]: one for one in json.loads(done.stdout)["networks"]}
    figures = {name: one["figures"][-1] for name, one in found.items()}
    assert [figure["kept_bytes"] for figure in figures.values()] == [40 * KEYS_AND_VALUES, 40 * KEYS_AND_VALUES, STATE]
    assert all(figure["tokens"] == 40 and figure["seconds"] > 0 for figure in figures.values())
    assert all(figures[name]["memory_bytes"] > 4 * one["parameters"] for name, one in found.items())


@pytest.mark.soak
def test_a_narrow_terminal_shows_all_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "app", "bench", "--scaling", "--prompt", "20,40", "--rounds", "1"]
    terminal = WatchedTerminal(command, tmp_path, columns=60, rows=90)
    shown = terminal.until("exponent", "each more", "Seconds over tokens", "Bytes kept over tokens", "BLAS")
    assert terminal.ends() == 0
    assert max(map(len, shown.split("\n"))) <= 60 and "A attention" in shown


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"scaling": True, "model": "starter"}, "--scaling measures networks of its own"),
        ({"scaling": True, "depth": "10"}, "--scaling measures networks of its own"),
        ({"scaling": True, "prompt": "many"}, "--prompt takes numbers from 1"),
        ({}, "Name a model to measure"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(QuietlyError, match=says):
        bench(**asked)
