"""What happens to errors nobody foresaw: a report for those who mend Quietly, one sentence for the person.

A report says where it happened and in which versions. It holds no words of a conversation: no values of
variables, no error message (it may quote what was typed), and the home folder is written as ~.
"""

import os
import platform
import sys
import time
import traceback
from pathlib import Path

from app import __version__
from app.settings import private_folder

_KEPT = 20
"""Reports that stay; older ones go."""


def report(error: BaseException, folder: Path) -> Path:
    """Write a redacted report of `error` into `folder`; returns its path. OSError where it cannot."""
    private_folder(folder)
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
        file.write(_text(error))
    for old in sorted(folder.glob("crash-*.txt"))[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def sentence(error: BaseException, folder: Path) -> str:
    """Report `error` and say where."""
    try:
        path = report(error, folder)
    except OSError:
        return f"No report could be written to {folder}."
    return f"A report without your words is in {path}."


def _text(error: BaseException) -> str:
    lines = [
        f"Quietly {__version__}, Python {platform.python_version()}, Textual {_textual()}",
        platform.platform(),
        "",
    ]
    seen: BaseException | None = error
    while seen is not None:
        lines.append(f"{type(seen).__module__}.{type(seen).__qualname__}")
        for frame in traceback.extract_tb(seen.__traceback__):
            lines.append(f"  {_redacted(frame.filename)}:{frame.lineno} in {frame.name}")
            if frame.line:
                lines.append(f"    {frame.line}")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        if seen is not None:
            lines.append("caused by")
    return "\n".join(lines) + "\n"


def _redacted(path: str) -> str:
    for base in [*sys.path, str(Path.home())]:
        if base and path.startswith(base.rstrip("/") + "/"):
            return ("~/" if base == str(Path.home()) else "") + path[len(base.rstrip("/")) + 1 :]
    return path


def _textual() -> str:
    from importlib.metadata import version

    return version("textual")
