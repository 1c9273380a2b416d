"""Lines that no command can take, and what helps to write others: one sentence in our words, and help that is whole."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main

from app.cli.main import app, run

Said = Callable[..., str]


@pytest.fixture
def refused(home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Run a line that cannot be understood; what standard error says of it."""

    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["quietly", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        out, error = capsys.readouterr()
        assert (ended.value.code, out, error.count("\n")) == (2, "", 1)
        return error.removesuffix("\n")

    return said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ask", "--temperature", "hot", "x"], "--temperature must be a number from 0 to 5, not hot."),
        (["ask", "--temperature=7", "x"], "--temperature must be a number from 0 to 5, not 7."),
        (["ask", "--temperature", "nan", "x"], "--temperature must be a number from 0 to 5, not nan."),
        (["ask", "--top-k", "1.5", "x"], "--top-k must be a whole number from 0 to 1,000,000, not 1.5."),
        (["ask", "--overflow", "never", "x"], "--overflow must be one of oldest, stop, rolling, not never."),
        (["ask", "--seed", "", "x"], '--seed must be a whole number from 0 to 4,294,967,295, not "".'),
        (["tokens", "x", "--near", "0"], "--near must be a whole number of at least 1, not 0."),
        (["models", "quantise", "x", "--bits", "5"], "--bits must be one of 4, 8, not 5."),
        (["export", "1", "two", "x"], "NUMBER must be a whole number, not two."),
        (["ask", "--temperature"], "--temperature needs a value behind it."),
        (["ask", "--json=yes", "x"], "--json takes no value: leave out the = and what is behind it."),
        (["ask", "--temprature", "1"], "`quietly ask` has no option --temprature; did you mean --temperature?"),
        (["settings", "--all"], "`quietly settings` has no option --all: `quietly settings --help` lists what it has."),
        (["models", "get"], "NAME is missing: write `quietly models get NAME`; `quietly models get --help` says more."),
        (
            ["settings", "set", "theme"],
            "VALUE is missing: write `quietly settings set FIELD VALUE`; `quietly settings set --help` says more.",
        ),
        (["model"], "`quietly` has no command model; did you mean `quietly models`?"),
        (["models", "frobnicate"], "`quietly models` has no command frobnicate: `quietly models --help` lists them."),
        ([""], '`quietly` has no command "": `quietly --help` lists them.'),
        (["--"], "`quietly` needs a command behind it: `quietly --help` lists them."),
        (["models", "list", "x"], "`quietly models list` does not take x: leave it out."),
        (
            ["tokens", "three", "more", "words"],
            "`quietly tokens` does not take more words: leave it out, or put what belongs together in quotes.",
        ),
    ],
)
def test_what_cannot_be_understood_is_named_with_the_way_out(refused: Said, words: list[str], says: str) -> None:
    assert refused(*words) == says


def test_a_question_that_looks_like_an_option_is_told_where_it_goes(refused: Said) -> None:
    assert refused("ask", "-5 + 3?").endswith("words that begin with a dash go behind --.")


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "--\x1b[31mred\n\x9b2J"],
        ["ask", "--seed", "\x1b[31mred\n\x9b2J"],
        ["models", "list", "\x1b[31mred\n\x9b2J"],
        ["\x1b]0;red\x07\udcff"],
    ],
)
def test_what_was_typed_acts_on_no_terminal(refused: Said, words: list[str]) -> None:
    said = refused(*words)
    assert "red" in said and said.isprintable()


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command behind the words that lead to it."""
    yield " ".join(path), command
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_whole_on_eighty_columns(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[path]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["quietly", *path.split(), "--help"])
    with pytest.raises(SystemExit) as ended:
        run()
    shown, error = capsys.readouterr()
    assert (ended.value.code, error) == (0, "")
    assert max(map(len, shown.splitlines())) <= 80
    written = re.findall(r"[^\s,/]+", shown)
    for param in command.params:
        if param.param_type_name == "option":
            assert {*param.opts, *param.secondary_opts} <= {*written}
        else:
            assert param.metavar in written
    for name in getattr(command, "commands", {}):
        assert re.search(rf"^  {name} +[A-Z].*[^.…]\.$", shown, re.MULTILINE)
