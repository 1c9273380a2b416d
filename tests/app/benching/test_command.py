"""`quietly bench` as a shell and a terminal run it, with a tiny model."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from app.benching.messages import Prefill
from app.benching.rounds import Plan, Report
from app.benching.telling import as_data
from app.cli.bench import _drawn, bench
from app.cli.main import app
from app.cli.measuring import measured
from app.errors import QuietlyError
from tests.app.benching.conftest import Player, Stage, at_a_rate
from tests.app.library.children import children
from tests.checkpoints import speaking_checkpoint
from tests.watching import WatchedTerminal

BENCH = [sys.executable, "-P", "-m", "app", "bench"]
SPEED = Path(__file__).parents[3] / "assets" / "docs" / "speed.md"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(speaking_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


@pytest.mark.soak
def test_the_data_has_all_that_was_asked(tiny: str) -> None:
    options = ("--prompt", "8,16", "--depth", "0,32", "--rounds", "1", "--json")
    done = subprocess.run([*BENCH, tiny, *options], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    (runner,) = told["runners"]
    assert (told["model"], told["rounds"], runner["name"]) == ("tiny", 1, "quietly")
    assert told["bytes_per_second"] > 0 and runner["memory_bytes"] > 0
    figures = [(one["what"], one.get("tokens"), one.get("depth"), len(one["samples"])) for one in runner["figures"]]
    assert figures == [
        ("prefill", 8, None, 1),
        ("prefill", 16, None, 1),
        ("decode", 64, 0, 1),
        ("decode", 64, 32, 1),
        ("cold", 82, None, 1),
        ("warm", None, None, 1),
        ("restored", None, None, 1),
    ]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"model": "nothing"}, "There is no model nothing here"),
        ({"against": ["everyone"]}, "--against takes mlx-lm or llama.cpp, not everyone"),
        ({"prompt": "12,x"}, "--prompt takes numbers from 1 to 1,048,576, with commas between them, not 12,x"),
        ({"prompt": "0"}, "--prompt takes numbers from 1"),
        ({"depth": "-1"}, "--depth takes numbers from 0"),
        ({"depth": ""}, "--depth takes numbers from 0"),
        ({"tune": True, "longest": 5}, "--tune and --forget go with --rounds and --json alone"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(tiny: str, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(QuietlyError, match=re.escape(says)):
        bench(**{"model": tiny, **asked})


@pytest.mark.parametrize("line", re.findall("^quietly (.+)$", SPEED.read_text(), re.MULTILINE))
def test_what_the_document_shows_is_understood(line: str) -> None:
    name, _, *options = shlex.split(line)
    given = typer.main.get_command(app).commands[name].make_context(name, ["nothing", *options])
    with pytest.raises(QuietlyError, match="There is no model nothing here"):
        bench(**given.params)


@pytest.mark.parametrize("fails", [{"refuses": True}, {"fatal": Prefill(20)}], ids=["at once", "in the middle"])
def test_who_drops_out_is_told_beside_what_the_others_did_and_the_exit_status_says_so(
    fails: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def told(data: Callable[[Report], object] | None) -> str:
        stage = Stage()
        makers = [partial(Player, name, stage, at_a_rate(1000)) for name in ("quietly", "mlx-lm")]
        report = Report("a model", Plan(prompts=(20,), depths=(), rounds=1))
        with pytest.raises(typer.Exit) as left:
            measured(report, [*makers, partial(Player, "llama.cpp", stage, at_a_rate(1), **fails)], _drawn, data)
        assert left.value.exit_code == 1
        return capsys.readouterr().out

    *others, gone = json.loads(told(as_data))["runners"]
    assert [(runner["ended"], runner["figures"][0]["tokens_per_second"]) for runner in others] == [(None, 1000)] * 2
    assert gone["ended"].startswith("llama.cpp ") and gone["figures"][0]["tokens_per_second"] is None
    shown = told(None)
    assert f"llama.cpp: {gone['ended']}" in shown and re.search(r"20 +1,000 +1,000 .* –", shown)


def test_ctrl_c_shows_what_there_is_and_leaves_nothing(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [*BENCH, tiny, "--prompt", "8", "--depth", "0", "--rounds", "1000"]
    terminal = WatchedTerminal(command, tmp_path, columns=60, rows=40)
    terminal.until("2/3000")
    terminal.type("\x03")
    shown = terminal.until("Reading a prompt", "peak", "numbers: float32")
    assert terminal.ends() == 130
    assert "█" in shown and max(map(len, shown.split("\n"))) <= 60
    assert not children("app.benching") and not list(tmp_path.glob("quietly-bench-*"))
