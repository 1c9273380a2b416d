"""This machine: chip, memory and what MLX will compute on, found out without MLX.

Its macOS half has met only the answers that tests imitate: unproven on a Mac.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Backend = Literal["Metal", "CUDA", "CPU"]
GIB = 1024**3


@dataclass(frozen=True)
class Machine:
    """What a model would run on. Sizes in bytes."""

    chip: str
    memory: int
    """All there is: of the GPU with CUDA, else of the machine."""
    available: int
    """What can be had now without pushing others out."""
    system: str
    backend: Backend
    problem: str | None = None
    """One sentence where MLX cannot run here as it should."""

    @property
    def budget(self) -> int:
        """Bytes a model may take. On Metal what the driver recommends: 2/3 of up to 36 GiB, 3/4 of more."""
        if self.backend != "Metal":
            return self.available
        return self.memory * 2 // 3 if self.memory <= 36 * GIB else self.memory * 3 // 4


def _output(command: Sequence[str]) -> str | None:
    """What a command prints, or None where it is missing, fails, or takes longer than a person would wait."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _is_installed(distribution: str) -> bool:
    from importlib import metadata

    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class Probe:
    """The questions asked of the machine, so that tests can answer for one they do not run on."""

    system: str = platform.system()
    release: Callable[[], str] = lambda: platform.mac_ver()[0]
    processor: Callable[[], str] = platform.machine
    output: Callable[[Sequence[str]], str | None] = _output
    text: Callable[[Path], str | None] = _text
    is_installed: Callable[[str], bool] = _is_installed
    which: Callable[[str], str | None] = shutil.which


def this_machine(probe: Probe | None = None) -> Machine:
    """The machine in front of us; figures that cannot be had are 0, words "unknown"."""
    probe = probe or Probe()
    return _mac(probe) if probe.system == "Darwin" else _linux(probe)


def _mac(probe: Probe) -> Machine:
    def sysctl(name: str) -> str:
        return probe.output(["sysctl", "-n", name]) or ""

    release = probe.release()
    translated = sysctl("sysctl.proc_translated") == "1"
    problem = None
    if translated:
        problem = "This Python runs under Rosetta: install an arm64 Python, MLX has no Metal under translation."
    elif probe.processor() != "arm64":
        problem = "This Mac has an Intel processor: MLX needs Apple silicon."
    elif release and int(release.split(".")[0] or 0) < 14:
        problem = f"This Mac runs macOS {release}: MLX needs 14 or newer."
    memory = _integer(sysctl("hw.memsize"))
    return Machine(
        chip=sysctl("machdep.cpu.brand_string") or "unknown",
        memory=memory,
        available=min(memory, _mac_available(probe.output(["vm_stat"]) or "")),
        system=f"macOS {release}".strip(),
        backend="Metal" if problem is None else "CPU",
        problem=problem,
    )


def _mac_available(vm_stat: str) -> int:
    """Bytes macOS would hand out at once: free, inactive, speculative and purgeable pages of `vm_stat`."""
    size = re.search(r"page size of (\d+) bytes", vm_stat)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", vm_stat, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size else 0


def _linux(probe: Probe) -> Machine:
    meminfo = dict(re.findall(r"^(\w+):\s+(\d+) kB", probe.text(Path("/proc/meminfo")) or "", re.MULTILINE))
    memory = int(meminfo.get("MemTotal", 0)) * 1024
    available = int(meminfo.get("MemAvailable", 0)) * 1024
    limit = _integer(probe.text(Path("/sys/fs/cgroup/memory.max")) or "")
    if 0 < limit < memory:  # a container: the kernel kills at its limit, whatever the machine has
        used = _integer(probe.text(Path("/sys/fs/cgroup/memory.current")) or "")
        # of that, what was read from files long ago is given back when it is wanted: a fetched model is gigabytes of it
        kept = re.search(r"^inactive_file (\d+)$", probe.text(Path("/sys/fs/cgroup/memory.stat")) or "", re.MULTILINE)
        used -= _integer(kept[1]) if kept else 0
        memory, available = limit, min(available, max(0, limit - used))
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', probe.text(Path("/etc/os-release")) or "", re.MULTILINE)
    name = re.search(r"^model name\s*:\s*(.+)$", probe.text(Path("/proc/cpuinfo")) or "", re.MULTILINE)
    chip = name[1].strip() if name else probe.processor() or "unknown"
    words = system[1] if system else probe.system
    if gpu := _cuda(probe):
        return Machine(gpu[0], gpu[1], gpu[2], words, "CUDA")
    return Machine(chip, memory, available, words, "CPU")


def _cuda(probe: Probe) -> tuple[str, int, int] | None:
    """Name, memory and free memory of the first NVIDIA GPU, where there are one and the MLX build for it."""
    has_driver = probe.which("nvidia-smi") or probe.text(Path("/proc/driver/nvidia/version"))
    if not has_driver or not any(map(probe.is_installed, ("mlx-cuda-13", "mlx-cuda-12", "mlx-cuda"))):
        return None
    fields = "--query-gpu=name,memory.total,memory.free"
    answer = probe.output(["nvidia-smi", fields, "--format=csv,noheader,nounits"]) or ""
    parts = [part.strip() for part in answer.partition("\n")[0].rsplit(",", 2)]
    if len(parts) != 3:
        return ("NVIDIA GPU", 0, 0)
    return parts[0], _integer(parts[1]) * 1024**2, _integer(parts[2]) * 1024**2


def _integer(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
