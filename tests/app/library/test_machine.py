"""What machine.py makes of the answers machines give. The Mac's are imitated: none has been asked."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.library.machine import GIB, Machine, Probe, this_machine

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                              100000.
Pages active:                            300000.
Pages inactive:                          200000.
Pages speculative:                        10000.
Pages throttled:                              0.
Pages wired down:                        150000.
Pages purgeable:                           5000.
"""


def mac(
    memory: int = 16 * GIB,
    *,
    release: str = "15.1",
    translated: str = "0",
    processor: str = "arm64",
    **more: str,
) -> Machine:
    answers = {
        "hw.memsize": str(memory),
        "machdep.cpu.brand_string": "Apple M2",
        "sysctl.proc_translated": translated,
        **more,
    }

    def output(command: Sequence[str]) -> str | None:
        return VM_STAT if command[0] == "vm_stat" else answers.get(command[-1])

    return this_machine(Probe(system="Darwin", release=lambda: release, processor=lambda: processor, output=output))


def linux(files: dict[str, str], gpu: str | None = None, package: str = "") -> Machine:
    return this_machine(
        Probe(
            system="Linux",
            processor=lambda: "x86_64",
            output=lambda command: gpu,
            text=lambda path: files.get(str(path)),
            is_installed=lambda name: name == package,
            which=lambda name: f"/usr/bin/{name}" if gpu is not None else None,
        )
    )


FILES = {
    "/proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:   8192000 kB\n",
    "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n",
    "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
}


def test_a_mac_with_apple_silicon_computes_on_metal() -> None:
    machine = mac()
    assert (machine.chip, machine.memory, machine.system) == ("Apple M2", 16 * GIB, "macOS 15.1")
    assert (machine.backend, machine.problem) == ("Metal", None)
    assert machine.available == 315_000 * 16384


@pytest.mark.parametrize(("memory", "budget"), [(8, 8 * 2 / 3), (36, 24), (64, 48), (128, 96)])
def test_metal_recommends_two_or_three_quarters_of_the_memory(memory: int, budget: float) -> None:
    assert mac(memory * GIB).budget == int(budget * GIB)


def test_rosetta_intel_and_old_systems_are_named() -> None:
    assert "Rosetta" in (mac(translated="1", processor="x86_64").problem or "")
    assert "Intel" in (mac(processor="x86_64").problem or "")
    assert "macOS 13.6" in (mac(release="13.6").problem or "")
    assert mac(translated="1", processor="x86_64").backend == "CPU"


def test_a_mac_that_answers_nothing_is_still_described() -> None:
    machine = this_machine(
        Probe(system="Darwin", release=lambda: "", processor=lambda: "arm64", output=lambda command: None)
    )
    assert (machine.chip, machine.memory, machine.available, machine.budget) == ("unknown", 0, 0, 0)


def test_linux_is_read_from_proc() -> None:
    machine = linux(FILES)
    assert machine == Machine("Some CPU @ 3 GHz", 16384000 * 1024, 8192000 * 1024, "Debian GNU/Linux 12", "CPU")
    assert machine.budget == machine.available
    assert linux({}).memory == 0


def test_a_container_has_what_it_is_allowed() -> None:
    limit = {"/sys/fs/cgroup/memory.max": "4294967296\n", "/sys/fs/cgroup/memory.current": "1073741824\n"}
    limited = linux(FILES | limit)
    assert (limited.memory, limited.available) == (4 * GIB, 3 * GIB)
    stat = {"/sys/fs/cgroup/memory.stat": "anon 1\ninactive_anon 5\ninactive_file 536870912\nactive_file 7\n"}
    assert linux(FILES | limit | stat).available == 3 * GIB + GIB // 2, "what was only read is given back"
    assert linux(FILES | {"/sys/fs/cgroup/memory.max": "max\n"}).memory == 16384000 * 1024


def test_cuda_needs_the_driver_and_the_package() -> None:
    gpu = "NVIDIA H100 80GB HBM3, 81559, 80000\nNVIDIA H100 80GB HBM3, 81559, 1"
    machine = linux(FILES, gpu, "mlx-cuda-13")
    assert (machine.chip, machine.backend) == ("NVIDIA H100 80GB HBM3", "CUDA")
    assert (machine.memory, machine.budget) == (81559 * 1024**2, 80000 * 1024**2)
    assert linux(FILES, gpu).backend == "CPU"
    assert linux(FILES, None, "mlx-cuda-13").backend == "CPU"
    assert linux(FILES, "[N/A], x, -1", "mlx-cuda-13").memory == 0


def test_the_machine_in_front_of_us_answers() -> None:
    machine = this_machine()
    assert machine.memory > GIB and 0 < machine.available <= machine.memory
    assert machine.chip and machine.system and machine.budget > 0


def test_commands_that_are_missing_or_hang_answer_nothing() -> None:
    probe = Probe()
    assert probe.output(["no-such-command-here"]) is None
    assert probe.output(["false"]) is None
    assert probe.text(Path("/no/such/file")) is None
