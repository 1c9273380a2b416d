"""How short of memory the machine is, by what it says.

Linux's files are written here; macOS is imitated: unproven there.
"""

import ctypes
from pathlib import Path

import pytest

from app.engine.memory import kernel_kills, shortage, tells_of_want

PROC = Path("/proc")
GROUP = Path("/sys/fs/cgroup")
CALM = "some avg10=0.00 avg60=9.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def linux(available: int, stalls: str = CALM, **group: str) -> str:
    """The shortage on a machine with 1,000 kB of memory."""
    said = {
        PROC / "meminfo": f"MemTotal:    1000 kB\nMemFree:     1 kB\nMemAvailable:    {available} kB\n",
        PROC / "pressure" / "memory": stalls,
        **{GROUP / f"memory.{name}": text for name, text in group.items()},
    }
    return shortage("linux", lambda path: said.get(path, ""))


@pytest.mark.parametrize(("available", "found"), [(1000, "none"), (101, "none"), (99, "some"), (39, "much")])
def test_little_memory_that_can_be_had_is_a_shortage(available: int, found: str) -> None:
    assert linux(available) == found


@pytest.mark.parametrize(("somebody", "everybody", "found"), [(9, 2, "none"), (10, 2, "some"), (50, 20, "much")])
def test_waiting_for_memory_is_a_shortage_however_much_seems_free(somebody: int, everybody: int, found: str) -> None:
    stalls = CALM.replace("some avg10=0", f"some avg10={somebody}").replace("full avg10=0", f"full avg10={everybody}")
    assert linux(900, stalls) == found


@pytest.mark.parametrize(("current", "found"), [("900", "none"), ("960", "some"), ("1000", "much")])
def test_a_container_is_short_of_memory_at_its_own_limit(current: str, found: str) -> None:
    assert linux(900, max="1000\n", current=current, stat="anon 1\ninactive_file 30\n") == found
    assert linux(900, max="max\n", current=current) == "none"


def test_a_system_that_says_nothing_is_not_short_of_memory() -> None:
    assert shortage("linux", lambda path: "") == "none"
    assert kernel_kills(lambda path: "") == 0


def test_this_system_can_be_asked() -> None:
    assert shortage() in ("none", "some", "much")
    assert kernel_kills() >= 0


def test_linux_counts_what_it_ended_for_want_of_memory() -> None:
    assert kernel_kills(lambda path: "nr_free_pages 5\noom_kill 3\n" if path == PROC / "vmstat" else "") == 3


class MacOS:
    """Answers one sysctl."""

    def __init__(self, level: int, result: int = 0) -> None:
        self.level, self.result = level, result

    def sysctlbyname(self, name: bytes, old: object, size: object, new: None, length: int) -> int:
        assert name == b"kern.memorystatus_vm_pressure_level"
        ctypes.cast(old, ctypes.POINTER(ctypes.c_int))[0] = self.level
        return self.result


@pytest.mark.parametrize(("level", "found"), [(1, "none"), (2, "some"), (4, "much"), (77, "none")])
def test_macos_says_it_in_levels(level: int, found: str) -> None:
    assert shortage("darwin", library=MacOS(level)) == found


def test_where_macos_does_not_answer_there_is_no_shortage() -> None:
    assert shortage("darwin", library=MacOS(4, result=-1)) == "none"


@pytest.mark.parametrize(
    "words",
    [
        "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed buffer size of 8",
        "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOf",
        "cudaMallocAsync(&data, size, stream) failed: out of memory",
        "[malloc] Unable to allocate 17179869184 bytes.",
        "std::bad_alloc",
        "memory allocation of 108960 bytes failed",
        "engine(123) malloc: *** error: can't allocate region",
        "cublasCreate(&handle_) failed: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_libraries_say_in_many_ways_that_memory_ran_out(words: str) -> None:
    assert tells_of_want(words)


@pytest.mark.parametrize(
    "words",
    ["CUDA error: an illegal memory access was encountered", "[matmul] shapes", "malloc(): corrupted top size", ""],
)
def test_other_failures_are_not_taken_for_it(words: str) -> None:
    assert not tells_of_want(words)
