"""`quietly inspect --diversity`: a model that really reads, in a process of its own, and what is told of it."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from app.diversity import Layer, Measured
from app.diversity.telling import as_data, drawn
from app.errors import QuietlyError
from tests.app.inspecting.conftest import Run
from tests.checkpoints import random_checkpoint


def test_each_layer_is_told_for_programs(quietly: Run, speaking: Path, tmp_path: Path) -> None:
    text = tmp_path / "a text.txt"
    text.write_text("The cat sat on the mat, and the dog did not.")
    told = json.loads(quietly("inspect", speaking, text, "--diversity", "--json").stdout)
    assert (told["model"], told["tokens"], told["variance"]) == ("speaking", 43, 0.8)
    assert [layer["layer"] for layer in told["layers"]] == [0, 1]
    for layer in told["layers"]:
        assert 1 < layer["dimension"] < layer["limit"] == 32
        assert layer["distance"] > 0 and 0 < layer["share"] <= 1
    same = json.loads(quietly("inspect", speaking, "--diversity", "--json", "--text", text.read_text()).stdout)
    assert same == told


def test_without_a_text_ours_is_read_and_drawn(quietly: Run, speaking: Path) -> None:
    lines = quietly("inspect", speaking, "--diversity").stdout.splitlines()
    assert lines[0] == "speaking: how much the states of 1,023 tokens differ, layer by layer"
    assert lines[1].split() == ["layer", "components", "distance"]
    assert lines[2].split()[0] == "0" and "█" in lines[2] and len(lines) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a.txt",), "a.txt is read with --diversity alone"),
        (("a.txt", "--diversity"), "a.txt is no file"),
        (("a.txt", "--diversity", "--text", "b"), "one text, a file or --text"),
        (("--diversity", "--context", 100), "one text, a file or --text"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(quietly: Run, speaking: Path, arguments, says) -> None:
    with pytest.raises(QuietlyError, match=says):
        quietly("inspect", speaking, *arguments)


def test_what_cannot_be_read_in_is_one_sentence(quietly: Run, tmp_path: Path) -> None:
    with pytest.raises(QuietlyError, match=r"has no tokenizer\.json"):
        quietly("inspect", random_checkpoint(tmp_path / "mute"), "--diversity", "--text", "Hello")


FOUND = Measured(tuple(Layer(dimension, 300, 12.5, 0.5) for dimension in (0, 1, 37, 74)), tokens=511, variance=0.8)


@pytest.mark.parametrize("width", [30, 80, 200])
def test_bars_are_as_long_as_dimensions_are_many(width: int) -> None:
    lines = [line.text for line in drawn("evil\x1b[31m", FOUND, width)]
    assert "\x1b" not in "".join(lines)
    rows = lines[2:6]
    assert all(cell_len(row) <= max(width, 50) for row in rows)
    lengths = [row.count("█") for row in rows]
    assert lengths[0] == 0 and lengths[1] <= lengths[2] and lengths[3] == 2 * lengths[2]
    assert "of 300 at most" in lines[6]


def test_data_has_every_layer_by_its_number() -> None:
    assert as_data("it", FOUND)["layers"][3] == {
        "layer": 3,
        "dimension": 74,
        "limit": 300,
        "distance": 12.5,
        "share": 0.5,
    }
