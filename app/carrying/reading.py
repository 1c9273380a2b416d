"""Files that conversations are read from: which format they have is found out from what is in them.

Files are hostile, and people choose the wrong one: what is no export is one sentence, and so is one that is too large.
Knows no store.
"""

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app.carrying import chatgpt, lm_studio
from app.carrying.foreign import mended
from app.carrying.from_markdown import from_markdown, is_markdown
from app.carrying.json_file import FORMAT, from_json
from app.carrying.tale import Tale
from app.chat.text import one_line
from app.errors import QuietlyError

LARGEST = 512 << 20
"""Bytes of the largest file that is read, packed or not: it is in memory whole, several times over."""
MOST = 20_000
"""Files of the largest folder that is read."""

_CHATGPT = re.compile(r"conversations(-\d+)?\.json")


class _NoExport(QuietlyError):
    """The file is of no format that is known here."""


def read(path: Path) -> Iterator[Tale]:
    """The conversations in a file or in the files of a folder, one after the other.

    Our JSON and Markdown, ChatGPT's conversations.json or the .zip that has it, LM Studio's conversations; of a
    folder also those below it, and what is no export is passed over. QuietlyError names a file that is none, too
    large, or damaged; for those of a folder at the end, when the others have been handed out.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISDIR(kind):
        yield from _read_file(path)
        return
    read_any = False
    refused: list[QuietlyError] = []
    for file in _files(path):
        try:
            for tale in _read_file(file):
                read_any = True
                yield tale
        except _NoExport:
            continue
        except QuietlyError as error:
            refused.append(error)
    if refused:
        more = f", and {len(refused) - 1} more files cannot be read either" if len(refused) > 1 else ""
        raise QuietlyError(f"{str(refused[0]).removesuffix('.')}{more}; the others were read.")
    if not read_any:
        raise QuietlyError(f"{path} has no conversations in it; choose the file or folder that was exported.")


def _files(folder: Path) -> list[Path]:
    """The files in `folder` and below, by name; links to other folders are not followed."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > MOST:
            raise QuietlyError(f"{folder} has more than {MOST:,} files in it; choose one with the exports alone.")
    return found


def _read_file(path: Path) -> Iterator[Tale]:
    name = str(path)
    try:
        # Not blocking: a pipe in the way would otherwise be waited for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise _no_export(name)
            start = file.read(64)
            if start.startswith(b"PK\x03\x04"):
                contents = list(_unpacked(file, name))
            elif not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"---", b"{", b"[")):
                raise _no_export(name)  # without reading on: it may be a film
            else:
                _check_size(name, about.st_size)
                file.seek(0)
                contents = [file.read(LARGEST)]
    except OSError as error:
        raise _unreadable(path, error) from error
    while contents:
        yield from _read(contents.pop(0), name)


def _unpacked(file: IO[bytes], name: str) -> Iterator[bytes]:
    """ChatGPT's conversations in a .zip, which has pictures and more beside them."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if _CHATGPT.fullmatch(PurePosixPath(each.filename).name)]
            if not members:
                raise _no_export(name)
            _check_size(name, sum(each.file_size for each in members))
            for each in members:
                yield archive.read(each)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise QuietlyError(
            f"{name} is damaged or locked; unpack it elsewhere and choose the conversations.json that was in it."
        ) from error


def _read(data: bytes, name: str) -> Iterator[Tale]:
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data.startswith(b"---"):
        text = data.decode(errors="replace").replace("\r\n", "\n")
        if is_markdown(text):
            yield from_markdown(text, name)
            return
    elif data.lstrip()[:1] in (b"{", b"["):
        data = mended(data)
        names = _names(data, name)
        if names.get("format") == FORMAT:
            yield from_json(data, name)
            return
        if "mapping" in names:
            yield from chatgpt.tales(data, name)
            return
        if "messages" in names:
            yield lm_studio.tale(data, name)
            return
    raise _no_export(name)


def _names(data: bytes, name: str) -> dict[str, object]:
    """What a JSON object has, or of an array its first: by that formats are told apart. Only `format` is read."""
    try:
        found = msgspec.json.decode(data, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        if isinstance(found, list):
            found = msgspec.json.decode(found[0], type=dict[str, msgspec.Raw]) if found else {}
        return {**found, "format": msgspec.json.decode(found.get("format", b"null"))}
    except msgspec.ValidationError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        flaw = one_line(str(error), 120)
        raise QuietlyError(f"{name} is no whole JSON ({flaw}); export or fetch it again.") from error


def _check_size(name: str, size: int) -> None:
    if size > LARGEST:
        raise QuietlyError(
            f"{name} has {size / (1 << 20):,.0f} MiB of conversations, and up to {LARGEST >> 20} MiB are read at once;"
            " split it, or export fewer conversations."
        )


def _no_export(name: str) -> QuietlyError:
    return _NoExport(
        f"{name} is no export that can be read here; those of Quietly can (Markdown and JSON),"
        " ChatGPT's (conversations.json, or the .zip), and LM Studio's conversations."
    )


def _unreadable(path: Path, error: OSError) -> QuietlyError:
    return QuietlyError(
        f"{path} cannot be read ({error.strerror or error}); check that it is there and is yours to read."
    )
