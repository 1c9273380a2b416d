"""What PanGu-π's modules cost is told beside Llama of the same round, and no more of it than was measured."""

import json
import subprocess
import sys
from functools import partial
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.benching.architectures import (
    BOTH,
    DEEP,
    FEWER,
    HOST,
    PAPER,
    SHALLOW,
    as_data,
    chart,
    networks,
    plan_for,
    ratio,
    reading,
    table,
    title,
    written,
)
from app.benching.messages import Bandwidth, Decode, Prefill, Sample, Thing
from app.benching.rounds import Entry, Figure, Report, measure
from app.chat.text import visible
from app.cli.bench import bench
from app.errors import QuietlyError
from app.inspecting.told import Line
from model.config import TransformerConfig, parse_config
from model.facts import parameters
from tests.app.benching.conftest import Player, Stage

PLAN = replace(plan_for(gpu=False, quick=False), rounds=7)


@pytest.mark.parametrize("gpu", [False, True])
def test_they_differ_in_the_modules_and_in_the_depth_alone(gpu: bool) -> None:
    configs = {name: parse_config(fields, name) for name, fields in networks(gpu).items()}
    assert all(isinstance(config, TransformerConfig) for config in configs.values())
    counts = {name: parameters(config).total for name, config in configs.items()}
    assert configs[HOST].num_hidden_layers == configs[BOTH].num_hidden_layers == DEEP
    assert configs[FEWER].num_hidden_layers == SHALLOW
    assert counts[HOST] < counts["+ series"] < counts["+ shortcut"] < counts[BOTH] < 1.02 * counts[HOST]
    assert counts[FEWER] / counts[BOTH] == pytest.approx(SHALLOW / DEEP, rel=0.01)
    assert {*configs} == {HOST, *PAPER}


# --- what is told ---------------------------------------------------------------------------------------------------


def as_published(disturbed: float = 1.0) -> Report:
    """Rounds in which all take what the paper says; in every second one everything takes `disturbed` times as long."""
    report = Report("architectures", PLAN)
    for name in networks(gpu=False):
        slow = (disturbed if number % 2 else 1.0 for number in count())

        def samples(seconds: float, name: str = name, slow: Any = slow) -> list[Sample]:
            return [Sample(seconds * PAPER.get(name, 1.0) * next(slow)) for _ in range(PLAN.rounds)]

        figures: dict[Thing, Figure] = {
            written(PLAN): Figure(samples(0.1)),
            Prefill(PLAN.prompts[0]): Figure(samples(1.0)),
        }
        report.entries.append(Entry(name, None, figures))
    return report


def told(lines: list[Line]) -> str:
    return "\n".join(line.text for line in lines)


def test_what_a_module_costs_is_a_share_of_llama() -> None:
    report = as_published()
    shown = told(table(report, 120))
    for said in ("+4.0 % ±0.0", "+2.6 %", "+1.3 %", "−9.7 %"):
        assert said in shown and said.split("±")[0].strip() in told(chart(report, 80))
    assert "cost +4.0 % for a token here, +4.0 % in the paper" in told(reading(report))
    assert "alone are −13.1 % here and −9.4 % by their number" in told(reading(report))
    assert "No farther" not in told(reading(report))


@given(st.floats(1, 50))
def test_a_machine_that_is_slow_for_a_round_changes_nothing(factor: float) -> None:
    calm, disturbed = as_published(), as_published(factor)
    for one, other in zip(calm.entries, disturbed.entries, strict=True):
        found = ratio(disturbed, other, written(PLAN))
        assert found is not None and found.error == pytest.approx(0)
        assert found.value == pytest.approx(ratio(calm, one, written(PLAN)).value)


def test_what_is_lost_in_the_noise_is_named() -> None:
    report = as_published()
    for number, sample in enumerate(report.entries[1].figures[written(PLAN)].samples):
        report.entries[1].figures[written(PLAN)].samples[number] = Sample(sample.seconds * (1 + 0.1 * (number - 3)))
    assert "No farther from Llama than twice the error: + series." in told(reading(report))


def test_more_rounds_make_it_surer() -> None:
    def errors(rounds: int) -> float:
        report = as_published()
        for number, entry in enumerate(report.entries):
            seconds = [1.0 + number * (0.1 if turn % 2 else -0.1) for turn in range(rounds)]
            entry.figures[written(PLAN)].samples = [Sample(one) for one in seconds]
        found = ratio(report, report.entries[1], written(PLAN))
        assert found is not None and found.error is not None
        return found.error

    assert errors(64) == pytest.approx(errors(4) / 4)
    assert ratio(as_published(), as_published().entries[0], written(PLAN)) == (1.0, 0.0)


def test_the_bars_are_signed_and_as_long_as_what_they_say() -> None:
    lines = {line.text.split("  ")[1].strip(): line.text for line in chart(as_published(), 80) if "here" in line.text}
    assert lines[FEWER].count("░") > 2 * lines[BOTH].count("█") > 0
    assert "░" not in lines[BOTH] and "█" not in lines[FEWER]


async def test_everyone_takes_turns_and_the_data_has_every_sample() -> None:
    stage, report = Stage(), Report("architectures", PLAN)

    def answer(thing: Thing) -> Sample:
        return Sample(1.0 if isinstance(thing, Decode) else 2.0, read=1 if isinstance(thing, Bandwidth) else None)

    await measure(report, [partial(Player, name, stage, answer) for name in networks(gpu=False)])
    data = json.loads(msgspec.json.encode(as_data(report)))
    assert [one["name"] for one in data["networks"]] == [*networks(gpu=False)]
    assert all(one["token"]["seconds"] == [1.0 / PLAN.answer] * PLAN.rounds for one in data["networks"])
    assert all(one["prompt"]["ratio"] == 1.0 for one in data["networks"])
    assert data["networks"][3]["paper_ratio"] == PAPER[BOTH]


@given(st.data())
@settings(max_examples=20)
def test_whatever_came_out_can_be_told(data: st.DataObject) -> None:
    report = as_published()
    for entry in report.entries:
        for figure in entry.figures.values():
            figure.samples = data.draw(st.lists(st.builds(Sample, st.floats(1e-7, 1e5)), max_size=3))
    width = data.draw(st.integers(20, 200))
    lines = [title(report), *table(report, width), *chart(report, width), *reading(report)]
    assert all(line.text == visible(line.text).replace("\n", " ") for line in lines)
    json.loads(msgspec.json.encode(as_data(report)))


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_the_command_measures_all_five_in_processes_of_their_own() -> None:
    command = [sys.executable, "-P", "-m", "app", "bench", "--architectures", "--rounds", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["networks"]
    assert [one["name"] for one in found] == [*networks(gpu=False)]
    assert all(one["token"]["seconds"][0] > 0 and one["prompt"]["ratio"] > 0 for one in found)


@pytest.mark.parametrize("beside", [{"model": "starter"}, {"prompt": "10"}, {"tune": True}, {"scaling": True}])
def test_it_takes_no_model_and_no_lengths(beside: dict[str, Any]) -> None:
    with pytest.raises(QuietlyError, match="measures networks of its own"):
        bench(architectures=True, **beside)
