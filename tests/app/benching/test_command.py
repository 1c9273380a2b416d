"""`quietly bench` as a shell and a terminal run it, with a tiny model."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from app.cli.bench import bench
from app.cli.main import app
from app.errors import QuietlyError
from tests.app.library.children import children
from tests.checkpoints import speaking_checkpoint
from tests.watching import WatchedTerminal

BENCH = [sys.executable, "-P", "-m", "app", "bench"]
SPEED = Path(__file__).parents[3] / "assets" / "docs" / "speed.md"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(speaking_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


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
