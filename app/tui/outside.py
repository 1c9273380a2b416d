"""Writing in the person's own editor: the window steps aside, a private file holds the text meanwhile.

Knows nothing of where the text came from or goes to.
"""

import asyncio
import os
import shlex
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from app.chat.text import one_line, storable
from app.ending import end
from app.errors import QuietlyError

if TYPE_CHECKING:
    from textual.app import App

_MOST = 20 * 1024 * 1024
"""Bytes that are read back at most."""


def editor() -> list[str]:
    """The command of the person's editor: $VISUAL, $EDITOR, else vi or nano. QuietlyError where there is none."""
    for variable in ("VISUAL", "EDITOR"):
        if named := os.environ.get(variable, "").strip():
            try:
                return shlex.split(named)
            except ValueError:
                raise QuietlyError(
                    f"${variable} cannot be understood: {one_line(named)}; name an editor there."
                ) from None
    for name in ("vi", "nano"):
        if found := shutil.which(name):
            return [found]
    raise QuietlyError("There is no editor here; name yours in $EDITOR.")


async def edit(app: "App[object]", text: str) -> str:
    """`text` as it is after the person has edited it. QuietlyError where the editor or the terminal refuses.

    The window's work goes on meanwhile, only nothing of it is painted.
    """
    from textual.app import SuspendNotSupported

    command = editor()
    # The folder is the person's alone, and goes with whatever the editor left in it.
    with tempfile.TemporaryDirectory(prefix="quietly-") as folder:
        file = Path(folder) / "message.md"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(storable(text).encode())
        try:
            with app.batch_update(), app.suspend():
                status = await _run([*command, str(file)])
        except SuspendNotSupported:
            raise QuietlyError("This terminal cannot be handed to an editor; write here instead.") from None
        except OSError as error:
            raise QuietlyError(
                f"{one_line(command[0])} could not be started ({error.strerror}); name your editor in $EDITOR."
            ) from error
        if status != 0:
            raise QuietlyError(f"{one_line(command[0])} ended with status {status}; the text stays as it was.")
        return _read_back(file, text)


async def _run(command: list[str]) -> int:
    # Ctrl+C is the editor's now; a handler, unlike ignoring, is not inherited by it.
    usual = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = await asyncio.create_subprocess_exec(*command)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:  # the window is asked to end
                end(process, signal.SIGTERM)
                await process.wait()
    finally:
        signal.signal(signal.SIGINT, usual)


def _read_back(file: Path, before: str) -> str:
    try:
        with file.open("rb") as written:
            data = written.read(_MOST + 1)
        if len(data) > _MOST:
            raise QuietlyError("What the editor wrote has more than 20 MiB; the text stays as it was.")
        text = data.decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise QuietlyError("What the editor wrote cannot be read as UTF-8; the text stays as it was.") from error
    # Editors end the last line, whether or not it was ended.
    return text if before.endswith("\n") else text.removesuffix("\n")
