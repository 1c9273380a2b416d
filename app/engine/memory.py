"""Whether this machine is short of memory now, and the signs that something died of it.

Reads a few small files of Linux, or asks macOS one number. The latter goes by its headers and was never tried on a
Mac. What cannot be read counts as no shortage.
"""

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.engine.policy import Shortage

ADVICE = "choose a shorter context, fewer bits or a smaller model, or close other programs"

_LOW, _VERY_LOW = 0.10, 0.04
"""Shares of all memory that can still be had without swapping."""
_STALLED, _BADLY_STALLED = 10.0, 20.0
"""Per cent of the last ten seconds in which somebody, in which everybody waited for memory (Linux's PSI)."""
_MACOS: dict[int, Shortage] = {2: "some", 4: "much"}
"""kern.memorystatus_vm_pressure_level: 1 is normal, 2 a warning, 4 critical (<dispatch/source.h>)."""
_RAN_OUT = re.compile(
    r"out ?of ?memory|insufficient memory|unable to allocate|can.t allocate|bad_alloc|_alloc_failed"
    r"|memory allocation .*failed|maximum allowed buffer"
)
"""How MLX, Metal, CUDA, C++, Rust and BLAS say that there is no more memory, in small letters."""

Read = Callable[[Path], str]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def shortage(platform: str = sys.platform, read: Read = _text, library: Any = None) -> Shortage:
    """How short of memory this machine is now. Takes microseconds."""
    return _macos(library) if platform == "darwin" else _linux(read)


def kernel_kills(read: Read = _text) -> int:
    """How many processes Linux has killed for want of memory since it started; 0 where that is not told."""
    return int(_number(read(Path("/proc/vmstat")), r"oom_kill (\d+)"))


def tells_of_want(words: str) -> bool:
    """Whether these words of a library say that memory ran out."""
    return bool(_RAN_OUT.search(words.lower()))


def _linux(read: Read) -> Shortage:
    stalls = read(Path("/proc/pressure/memory"))
    somebody, everybody = (_number(stalls, rf"{who} avg10=([\d.]+)") for who in ("some", "full"))
    free = _free_share(read)
    if free < _VERY_LOW or everybody >= _BADLY_STALLED:
        return "much"
    return "some" if free < _LOW or somebody >= _STALLED else "none"


def _free_share(read: Read) -> float:
    """The share of memory that can be had: of the machine's, or of the container's where that has less."""
    memory = read(Path("/proc/meminfo"))
    shares = [_number(memory, r"MemAvailable:\s+(\d+)") / (_number(memory, r"MemTotal:\s+(\d+)") or 1)]
    group = Path("/sys/fs/cgroup")
    if limit := _number(read(group / "memory.max"), r"(\d+)"):
        used = _number(read(group / "memory.current"), r"(\d+)")
        files = _number(read(group / "memory.stat"), r"inactive_file (\d+)")  # the kernel drops these first
        shares.append((limit - used + files) / limit)
    return min(shares) if memory else 1.0


def _number(text: str, pattern: str) -> float:
    """The number at the beginning of a line where `pattern` has it; 0 where there is none."""
    found = re.search(rf"^{pattern}", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _macos(library: Any) -> Shortage:
    level, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    ask = (library or ctypes.CDLL(None)).sysctlbyname
    failed = ask(b"kern.memorystatus_vm_pressure_level", ctypes.byref(level), ctypes.byref(size), None, 0)
    return "none" if failed else _MACOS.get(level.value, "none")
