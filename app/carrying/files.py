"""Files of exports: named so that every system takes them, whole or not there, never in the place of another.

Knows nothing of what is in them.
"""

import contextlib
import os
import re
import unicodedata
from pathlib import Path

from app.chat.failures import explaining
from app.chat.text import storable, visible

NAME_BYTES = 200
"""A file name's length in UTF-8; file systems allow 255, tools that add to a name need some of it."""

_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\s]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def file_name(title: str, suffix: str, number: int = 1) -> str:
    """The `number`th name for a file with this title, safe on macOS, Linux and Windows; `suffix` has its dot."""
    ending = suffix if number == 1 else f" {number}{suffix}"
    stem = _NOT_IN_NAMES.sub(" ", visible(unicodedata.normalize("NFC", storable(title)))).lstrip(" .-")
    if _RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    room = NAME_BYTES - len(ending)
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .\u200d")
    return f"{stem or 'Conversation'}{ending}"


class Folder:
    """A folder that files are written into, each under the first name that is free."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._used: dict[str, int] = {}
        """Numbers that are taken already by the name they belong to: a thousand of one title are not tried anew."""

    def write(self, title: str, suffix: str, text: str) -> Path:
        """A new file, readable by its owner only; an existing file is never touched.

        The file is there whole or not at all. Returns its path; QuietlyError where it cannot be written.
        """
        part = self.path / f".quietly-{os.urandom(8).hex()}.part"
        with explaining(self.path / file_name(title, suffix)):
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(file.fileno())
                target = self._reserved(title, suffix)
                try:
                    part.replace(target)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
            finally:
                part.unlink(missing_ok=True)
        return target

    def _reserved(self, title: str, suffix: str) -> Path:
        """An empty file of ours under the first name that is free: whoever else exports now gets the next."""
        first = file_name(title, suffix)
        while True:
            number = self._used[first] = self._used.get(first, 0) + 1
            target = self.path / file_name(title, suffix, number)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                return target
