"""The tour and the README name what there is: pictures that the script makes, keys that act, commands to be typed."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.plain.commands import NAMES
from app.tui.actions import TYPED
from app.tui.keys import known
from tests.documents import DOCUMENTS, quoted
from tests.tour import PICTURES, STAY

TOUR = (DOCUMENTS / "tour.md").read_text()
README = (DOCUMENTS.parents[1] / "README.md").read_text()
MOST = 120_000
"""Bytes of one picture."""
_NAMED = {
    "esc": "escape",
    "del": "delete",
    "←": "left",
    "→": "right",
    "/": "slash",
    "ctrl+]": "ctrl+right_square_bracket",
}
"""Keys as people read them, and as bindings name them where that is something else."""
_QUERY = re.compile(r'"[^"]+"|-\w+|(?:model|after|before):\S+')
_KEYS = {key.lower() for bindings in known().values() for each in bindings.values() for key in each.key.split(",")}


def pictures(text: str) -> list[str]:
    """The files of the pictures in a text, each with words for those who do not see it."""
    return re.findall(r"!\[[^\]]{20,}\]\([\w/]*pictures/([^)]+)\)", text)


def in_shell(text: str) -> set[str]:
    """What a text says can be typed in the shell, each without its comment."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = [*quoted(re.sub(r"```.*?```", "", text, flags=re.DOTALL)), *blocks.splitlines()]
    commands = {line.partition("#")[0].rpartition("| ")[2].strip() for line in lines}
    return {command for command in commands if command.startswith("quietly")}


def test_the_pictures_are_those_that_the_script_makes() -> None:
    made = [f"{picture.name}.svg" for picture in STAY if picture.shown]
    assert pictures(TOUR) == made
    assert set(pictures(README)) <= set(made)
    assert sorted(file.name for file in PICTURES.iterdir()) == sorted(made)
    assert TOUR.count("](pictures/") == len(made)


@pytest.mark.parametrize("picture", [picture for picture in STAY if picture.shown], ids=lambda picture: picture.name)
def test_a_picture_is_small_and_fetches_nothing(picture) -> None:
    svg = (PICTURES / f"{picture.name}.svg").read_text()
    assert len(svg.encode()) < MOST
    assert "starter" in svg or "Quietly" in svg
    assert not re.search(r"url\(\s*[\"']?http|@import|<script|href=", svg)


def test_every_key_and_command_of_the_tour_is_one() -> None:
    for said in quoted(TOUR):
        if said.startswith("/") and said != "/":
            assert said in TYPED, said
        elif not (said.startswith(("quietly", "python")) or _QUERY.fullmatch(said)):
            assert _NAMED.get(said.lower(), said.lower()) in _KEYS, said


def test_what_the_tour_says_of_plain_mode_can_be_typed_there() -> None:
    assert {"/help", "/search", "/export", "/import", "/branch", "/tune"} <= NAMES


@pytest.mark.parametrize("typed", sorted(in_shell(TOUR) | in_shell(README)))
def test_every_command_for_the_shell_is_one(typed: str) -> None:
    words = shlex.split(typed)[1:]
    options = [word for word in words if word.startswith("-")]
    helped = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*(word for word in words if word not in options), "--help"])
    assert helped.exit_code == 0, helped.output
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", helped.output), f"{typed} has no {option}"
