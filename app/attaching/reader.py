"""The far side of reading a file: `python -m app.attaching.reader` reads a path from its input and answers with JSON.

Whatever is in the file, this process alone meets it: it takes little time and little memory, opens no connection, and
ends. It tells PDF from text by what is in a file, not by its name.
"""

import codecs
import contextlib
import io
import os
import resource
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import msgspec

from app.chat.text import one_line, storable
from app.closed import refuse_connections
from app.errors import QuietlyError

MOST = 20 * 1024 * 1024
"""Bytes of a file, and characters of its text, at most."""
FULL = 3
"""The exit status where the memory allowed was not enough."""
_MEMORY = 1024 * 1024 * 1024
"""Bytes that reading may take."""
_SECONDS = 35
"""After which this process ends by itself, should nobody be left to end it."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Reply(msgspec.Struct, frozen=True):
    """The text, or the sentence that says what is wrong."""

    text: str = ""
    wrong: str = ""


def text_of(path: Path) -> str:
    """The text of the file at `path`, storable. QuietlyError where there is none to read."""
    name = one_line(storable(path.name)) or "This"
    data = _bytes_of(path, name)
    if data.startswith(b"%PDF-") or (path.suffix.lower() == ".pdf" and b"%PDF-" in data[:1024]):
        return _pdf(data, name)
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if b"\0" in data:
            raise QuietlyError(_no_text(name)) from None
        raise QuietlyError(
            f"{name} is in an encoding other than UTF-8, or UTF-16 with its mark; save it as UTF-8 and attach that."
        ) from None
    if "\0" in text:
        raise QuietlyError(_no_text(name))
    if not text.strip():
        raise QuietlyError(f"{name} is empty; there is nothing in it to attach.")
    return storable(text)


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        # A pipe with nobody at its other end must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        said = (error.strerror or "unknown reason").lower()
        raise QuietlyError(f"{name} cannot be read ({said}); attach another file.") from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise QuietlyError(f"{name} is a folder; attach the files in it one by one.")
        if not stat.S_ISREG(found.st_mode):
            raise QuietlyError(f"{name} is a device or a pipe; attach a file.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = b"" if found.st_size > MOST else file.read(MOST + 1)
    except OSError as error:
        raise QuietlyError(f"{name} cannot be read to its end; try again, or attach another file.") from error
    finally:
        os.close(descriptor)
    if found.st_size > MOST or len(data) > MOST:
        raise QuietlyError(f"{name} has more than 20 MiB; attach a part of it.")
    return data


def _no_text(name: str) -> str:
    return f"{name} holds no text; Quietly reads text, Markdown, source code and PDF."


def _pdf(data: bytes, name: str) -> str:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    pages: list[str] = []
    length = 0
    try:
        document = PdfReader(io.BytesIO(data), strict=False)
        if document.is_encrypted and not document.decrypt(""):
            raise QuietlyError(_locked(name))
        for page in document.pages:
            pages.append(page.extract_text())
            length += len(pages[-1])
            if length > MOST:
                raise QuietlyError(f"{name} has more text than could be read here; attach a part of it.")
    except (QuietlyError, MemoryError):
        raise
    except (DependencyError, FileNotDecryptedError):
        raise QuietlyError(_locked(name)) from None
    except Exception as error:  # anything at all may be wrong inside a PDF
        raise QuietlyError(f"{name} is a damaged PDF; save it anew, or as text, and attach that.") from error
    text = "\n\n".join(page.strip() for page in pages).strip()
    if not text:
        raise QuietlyError(f"{name} is a PDF without text in it, perhaps of scanned pages; attach its words as text.")
    return storable(text)


def _locked(name: str) -> str:
    return f"{name} is locked with a password; save a copy without one and attach that."


def confine(memory: int = _MEMORY, seconds: int = _SECONDS) -> None:
    """Let this process take no more than `memory` bytes and `seconds`, of the clock as of the processor."""
    signal.alarm(seconds)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with contextlib.suppress(ValueError, OSError):  # macOS does not know this limit
        resource.setrlimit(resource.RLIMIT_AS, (2 * memory, 2 * memory))
    threading.Thread(target=_watch, args=(memory,), daemon=True).start()


def _watch(memory: int) -> None:
    began = _most_used()
    while _most_used() - began < memory:
        time.sleep(0.05)
    os._exit(FULL)


def _most_used() -> int:
    """Bytes of memory that this process has had at once; on Linux it begins with those of its parent."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def main() -> None:
    path = Path(os.fsdecode(sys.stdin.buffer.read()))
    confine()
    refuse_connections()
    # What a library prints must not stand among the reply.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        reply = Reply(text=text_of(path))
    except QuietlyError as error:
        reply = Reply(wrong=str(error))
    except MemoryError:
        os._exit(FULL)
    with os.fdopen(answers, "wb") as out:
        out.write(msgspec.json.encode(reply))


if __name__ == "__main__":
    main()
