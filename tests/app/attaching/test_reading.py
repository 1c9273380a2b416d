"""Reading files apart: what is read, what is refused in one sentence, and that nothing is left running."""

import asyncio
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from app.attaching import read
from app.attaching.process import read_apart
from app.attaching.reader import FULL, MOST
from app.errors import QuietlyError
from tests.waiting import until


def pdf(*contents: bytes, encoded: bytes = b"") -> bytes:
    """A PDF of one page for each of `contents`, its content stream."""
    kids = b" ".join(b"%d 0 R" % (3 + 2 * place) for place in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d /Resources << /Font << /F << /Type /Font /Subtype /Type1"
        b" /BaseFont /Helvetica >> >> >> /MediaBox [0 0 200 200] >>" % (kids, len(contents)),
    ]
    for place, content in enumerate(contents):
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (4 + 2 * place))
        objects.append(b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), encoded, content))
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def page(words: str) -> bytes:
    return b"BT /F 12 Tf 10 100 Td (%b) Tj ET" % words.encode()


async def refusal(path: Path) -> str:
    """The sentence that says why `path` is not read."""
    with pytest.raises(QuietlyError) as refused:
        await read(path)
    sentence = str(refused.value)
    assert sentence.count("\n") == 0 and sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_text_comes_as_it_is_in_the_file(tmp_path: Path, encoding: str) -> None:
    text = "# Überschrift\r\n\t滑动窗口 \x1b[31m\n"
    path = tmp_path / "notes.md"
    path.write_bytes(text.encode(encoding))
    attachment = await read(path)
    assert (attachment.name, attachment.text) == ("notes.md", text)


async def test_source_of_any_name_is_text_also_where_it_speaks_of_pdf(tmp_path: Path) -> None:
    path = tmp_path / "reader.f90"
    path.write_text("! begins with %PDF-\nend\n")
    assert (await read(path)).text == "! begins with %PDF-\nend\n"


async def test_a_name_that_is_no_unicode_comes_back_storable(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_text("words")
    attachment = await read(path)
    assert attachment.name == "caf�.txt" and attachment.text == "words"


async def test_the_pages_of_a_pdf_are_parted_by_a_blank_line(tmp_path: Path) -> None:
    path = tmp_path / "paper"
    path.write_bytes(pdf(page("First page"), page("Second page")))
    assert (await read(path)).text == "First page\n\nSecond page"


async def test_what_holds_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "old.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "empty.txt").write_bytes(b" \n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.txt").touch()
    os.truncate(tmp_path / "large.txt", MOST + 1)
    for name, reason in {
        "picture.png": "holds no text",
        "nul.txt": "holds no text",
        "old.txt": "save it as UTF-8",
        "empty.txt": "is empty",
        "folder": "is a folder",
        "pipe": "is a device or a pipe",
        "large.txt": "more than 20 MiB",
        "missing.txt": "no such file",
    }.items():
        said = await refusal(tmp_path / name)
        assert said.startswith(name) and reason in said
    assert "device" in await refusal(Path("/dev/null"))


async def test_a_hostile_name_is_shown_safely(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.bin"
    path.write_bytes(b"\0")
    assert "\x1b" not in await refusal(path)


async def test_pdfs_that_cannot_be_read_are_refused_by_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    for content, reason in {
        pdf(b""): "without text",
        b"%PDF-1.7\nnothing of the kind": "damaged",
        pdf(page("words"))[:300]: "damaged",
        _circular(): "damaged",
        _encrypted(): "locked with a password",
        pdf(zlib.compress(b"\0" * 400_000_000), encoded=b"/Filter /FlateDecode"): "damaged",
    }.items():
        path.write_bytes(content)
        assert reason in await refusal(path), reason


def _circular() -> bytes:
    """Pages whose parent is among their kids."""
    return pdf(page("words")).replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]")


def _encrypted() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(page("secret")))))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


async def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "slow.pdf"
    path.write_bytes(pdf(*[page("words ") * 500] * 500))
    with pytest.raises(QuietlyError, match="takes too long"):
        await read_apart(path, seconds=0.5)
    assert not _children()


async def test_cancelling_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "slow.pdf"
    path.write_bytes(pdf(*[page("words ") * 500] * 500))
    reading = asyncio.create_task(read_apart(path))
    await until(_children)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not _children()


def _children() -> list[str]:
    """The command lines of readers that this process has started."""
    shown = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in shown.stdout.splitlines() if "app.attaching.reader" in line]


def test_memory_beyond_what_is_allowed_ends_the_reader() -> None:
    greedy = (
        "import time\nfrom app.attaching.reader import confine\nconfine(memory=50_000_000)\n"
        "try:\n    held = [bytearray(b'x' * 1_000_000) for _ in range(400)]\n    time.sleep(30)\n"
        f"except MemoryError:\n    raise SystemExit({FULL})\n"
    )
    assert subprocess.run([sys.executable, "-c", greedy], timeout=30, check=False).returncode == FULL


def test_a_reader_that_nobody_waits_for_ends_by_itself() -> None:
    idle = "import time\nfrom app.attaching.reader import confine\nconfine(seconds=1)\ntime.sleep(30)\n"
    assert subprocess.run([sys.executable, "-c", idle], timeout=20, check=False).returncode < 0
