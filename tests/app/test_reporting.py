"""The report that a person may send: it says what helps, and nothing of whom it is or what was said."""

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.store import Store
from app.cli.bench import measured_shortly
from app.errors import QuietlyError
from app.library.machine import GIB, Machine, Probe
from app.reporting import collect, machine_told, names_of_here, without, write
from app.settings import Paths, load_settings
from tests.app.living import write_everywhere
from tests.checkpoints import speaking_checkpoint

MARKER = "zqxjkvbz-marker"
QUIETLY = [sys.executable, "-P", "-m", "app"]


@pytest.fixture
def lived_in(places: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """An installation whose person, computer, settings, conversations and logs are all called by the marker."""
    monkeypatch.setenv("HOME", f"/Users/{MARKER}")
    monkeypatch.setenv("USER", MARKER)
    monkeypatch.setenv("LOGNAME", MARKER)
    monkeypatch.setattr(socket, "gethostname", lambda: f"{MARKER}-mac.local")
    places.config.mkdir(parents=True)
    places.settings.write_text(
        f'system_prompt = "{MARKER}"\nexport_folder = "/{MARKER}"\nunload_after = 5\n'
        f'[keys]\n"answer.stop" = "{MARKER}"\n'
    )
    with Store.open(places.database) as store:
        write_everywhere(store, MARKER)
    places.logs.mkdir(parents=True)
    said = f"2026-11-22 11:16:41,001 ERROR request 7 failed with ValueError\nValueError: {MARKER}\n{MARKER}\n"
    (places.logs / "engine-20261122-111641-1-000001.log").write_text(said)
    places.tuned.write_text(json.dumps({"rows": [], MARKER: 1}))
    return places


async def test_it_holds_what_helps_and_no_word_or_name(lived_in: Paths, tmp_path: Path) -> None:
    bench = [{"model": {"architecture": "llama"}, "problem": f"/Users/{MARKER}/Application Support/x is missing"}]
    found = await collect(lived_in, load_settings(lived_in.settings)[0], bench)
    file = tmp_path / "report.json"
    write(file, found)
    written = file.read_text()
    for trace in (MARKER, "zqxjkvbz", "/Users", str(tmp_path)):
        assert trace not in written, trace
    report = json.loads(written)
    assert report["packages"]["mlx"].startswith("0.") and report["machine"]["memory"] > GIB
    assert "CPU" in report["engine"]["device"] and report["engine"]["memory_limit"] > 0
    assert report["settings"] == {
        "unload_after": 5,
        "system_prompt": "(set)",
        "export_folder": "(set)",
        "keys": "(set)",
    }
    assert report["logs"] == [
        ["2026-11-22 11:16:41 ERROR request 7 failed with ValueError", "ValueError", "(1 line left out)"]
    ]
    assert "is not known and does nothing" in report["tuned"][0]
    assert report["bench"][0]["problem"] == "(a path) is missing"


def test_it_is_for_its_owner_alone_and_never_written_over_something(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write(file, {"ü": 1})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "ü" in file.read_text()
    with pytest.raises(QuietlyError, match="is there already: name another file"):
        write(file, {})
    with pytest.raises(QuietlyError, match=r"cannot be written \(no such file or directory\)"):
        write(tmp_path / "nowhere" / "report.json", {})


def test_what_can_be_asked_of_a_mac_is_told() -> None:
    answers = {
        "hw.memsize": str(16 * GIB),
        "machdep.cpu.brand_string": "Apple M2 Pro",
        "hw.model": "Mac14,9",
        "hw.perflevel0.physicalcpu": "6",
        "hw.perflevel1.physicalcpu": "4",
        "-g": " Sleep On Power Button 1\n lowpowermode         1\n",
        "batt": "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1234567)\t89%; discharging\n",
        "-d1": '+-o AGXAcceleratorG14X\n  "gpu-core-count" = 16\n  "IOPlatformSerialNumber" = "X12345"\n',
    }

    def output(command: Sequence[str]) -> str | None:
        return answers.get(command[-1])

    probe = Probe(system="Darwin", release=lambda: "15.1", processor=lambda: "arm64", output=output)
    told = machine_told(probe)
    assert (told["chip"], told["back end"], told["hw.model"]) == ("Apple M2 Pro", "Metal", "Mac14,9")
    assert (told["gpu cores"], told["power"], told["low power mode"]) == ("16", "battery", "1")
    assert "hw.physicalcpu" not in told and "X12345" not in str(told) and "1234567" not in str(told)


words = st.text("abc XYZ.,/()_-", max_size=30)


@given(st.recursive(words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=8))
def test_names_go_wherever_they_stand_as_words(value: object) -> None:
    cleaned = json.dumps(without({"abc": "(user)"}, {"before": value, "said": ["by Abc, abc's", "abcd"]}))
    parts = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in cleaned.casefold()).split()
    assert "abc" not in parts and "abcd" in parts


def test_short_names_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "m2")
    monkeypatch.setenv("HOME", "/home/jo")
    monkeypatch.setenv("LOGNAME", "jo")
    assert names_of_here() == {}


# --- the command ----------------------------------------------------------------------------------------------------


def quietly(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUIETLY, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd, stdin=subprocess.DEVNULL
    )


def test_the_command_says_first_what_will_be_in_it_and_then_where_it_lies(home: Path, tmp_path: Path) -> None:
    done = quietly("doctor", "--report", "mine.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'mine.json'}\n")
    assert done.stderr.startswith("The report will hold the machine's chip")
    assert "It will not hold words of conversations" in done.stderr and "unless you send it" in done.stderr
    assert json.loads((tmp_path / "mine.json").read_text())["engine"]["mlx"]
    again = quietly("doctor", "--report", "mine.json", cwd=tmp_path)
    assert again.returncode == 1 and "is there already" in again.stderr


def test_a_file_without_a_report_is_refused(home: Path, tmp_path: Path) -> None:
    done = quietly("doctor", "mine.json", cwd=tmp_path)
    assert done.returncode == 1 and "say --report too" in done.stderr and list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize("too_big", [False, True])
def test_a_model_that_cannot_be_measured_is_not_named_either(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_big: bool
) -> None:
    folder = speaking_checkpoint(tmp_path / MARKER)
    if too_big:
        monkeypatch.setattr("app.library.machine.this_machine", lambda: Machine("a chip", 1, 1, "Linux", "CPU"))
    else:
        (folder / "generation_config.json").write_text('{"temperature": -1}')
    told = measured_shortly(str(folder))
    assert "(the model)" in str(told["problem"]) and MARKER not in str(told)


@pytest.mark.soak
def test_a_model_is_measured_for_it_and_not_named(home: Path, tmp_path: Path) -> None:
    speaking_checkpoint(tmp_path / MARKER)
    done = quietly("doctor", "--report", "--bench", str(tmp_path / MARKER), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = Path(done.stdout.strip()).read_text()
    assert MARKER not in written and str(tmp_path) not in written
    (measured,) = json.loads(written)["bench"]
    assert measured["model"]["architecture"] == "qwen2" and measured["runners"][0]["figures"]
