"""The workflow for macOS runs what there is: it has never run itself, so at least its commands are held to the code."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from app.cli.main import app

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "macos.yml").read_text()
COMMANDS = re.findall(r"\.venv/bin/quietly (.+)", WORKFLOW)


def test_it_says_that_it_is_unproven_and_names_no_address() -> None:
    assert "Unproven" in WORKFLOW.partition("name:")[0]
    assert "://" not in WORKFLOW and "index" not in WORKFLOW


def test_what_it_makes_can_be_made() -> None:
    targets = re.findall(r"run: make (\w+)", WORKFLOW)
    assert targets == ["check", "test"]
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in targets)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_it_runs_are_understood(command: str) -> None:
    name, *arguments = shlex.split(command)
    typer.main.get_command(app).commands[name].make_context(name, arguments)


def test_what_it_keeps_is_what_the_report_is_written_to() -> None:
    (report,) = re.findall(r"path: (\S+)", WORKFLOW)
    assert any(f"doctor --report {report} --bench starter" in command for command in COMMANDS)
