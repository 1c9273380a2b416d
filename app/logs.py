"""What of an engine's log may be shown to others: where something happened and of what kind, and no word of anyone's.

A log has lines of ours and whatever libraries print, which may quote what was typed. Only what has a known form is
taken, and of it only the parts that are known; everything else is counted. Knows no engine.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_READ = 64 * 1024
"""Bytes of a log's end that are looked at."""
_OURS = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)")
_KNOWN = re.compile(
    r"BLAS: OpenBLAS(?: [\d.]+)?(?: \(\w+ kernels\))? of (?:scipy-openblas32|the system \([\w.-]+\))|"
    r"BLAS: the one MLX brings|request \d+ failed with \w+"
)
"""What ours say that is the same for everyone."""
_FRAME = re.compile(r'  File "([^"]*)", line (\d+),? in (\w+|<\w+>)')
_KIND = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))(?::.*)?")
_HEADING = re.compile(
    r"Traceback \(most recent call last\):|Fatal Python error: (?:Aborted|Bus error|Segmentation fault)"
)
_SYSTEM = re.compile(
    r"libc\+\+abi: terminating due to uncaught exception of type [\w:]+|terminate called after throwing an instance|"
    r"Command buffer execution failed: [A-Z][\w ]{0,60}\(\w{8}:k\w+\)|\[METAL\]|\[metal::malloc\]|\[malloc_or_wait\]|"
    r"Insufficient Memory|out of memory|Unable to allocate \d+ bytes",
    re.IGNORECASE,
)
"""What is said where a process ends from below Python: these phrases, and nothing around them."""
_PLACE = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/([\w./-]+)|.*/((?:app|model)/[\w/]+\.py)")
_PATH = re.compile(r"(?<![\w.])~?/(?:[^/:'\"\n]+/)*[^\s/:'\"]+")
"""With blanks in the names of folders, which macOS has: rather too much than a part of a name."""


def tail(log: Path, lines: int) -> list[str]:
    """The last `lines` lines of `log` that may be shown; those in between that may not are counted in their place.
    Nothing where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ))
            written = file.read(_READ)
    except OSError:
        return []
    return list(_shown(written.decode(errors="replace").splitlines()))[-lines:]


def without_paths(text: str) -> str:
    """`text` with no file's place in it."""
    return _PATH.sub("(a path)", text)


def _shown(lines: Sequence[str]) -> Iterator[str]:
    left_out = 0
    for line in lines:
        if (told := _told(line)) is None:
            left_out += 1
            continue
        if left_out:
            yield _count(left_out)
            left_out = 0
        yield told
    if left_out:
        yield _count(left_out)


def _count(lines: int) -> str:
    return f"({lines} {'line' if lines == 1 else 'lines'} left out)"


def _told(line: str) -> str | None:
    """What may be shown of a line; None where nothing is known of it."""
    if ours := _OURS.fullmatch(line):
        message = ours[3] if _KNOWN.fullmatch(ours[3]) else "(left out)"
        return f"{ours[1]} {ours[2]} {message}"
    if frame := _FRAME.fullmatch(line):
        place = _PLACE.fullmatch(frame[1])
        return f"  {(place[1] or place[2]) if place else '(another file)'}:{frame[2]} in {frame[3]}"
    if kind := _KIND.fullmatch(line):
        return kind[1]
    if _HEADING.fullmatch(line):
        return line
    return ", ".join(_SYSTEM.findall(line)) or None
