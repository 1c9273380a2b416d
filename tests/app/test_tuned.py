"""What was measured to be best is kept for a kind of model on a device, and what is wrong in its file does no harm."""

import json
import stat
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.chat.text import one_line
from app.engine.protocol import ChatMessage, Progress
from app.engines import appraise, engines
from app.erasing import left
from app.errors import QuietlyError
from app.library.local import find
from app.library.machine import Machine, this_machine
from app.settings import Paths, Settings
from app.tuned import (
    Subject,
    Tuned,
    choices_here,
    device,
    forget_tuned,
    keep_tuned,
    load_tuned,
    subject_of,
    told,
    tuned_for,
    tuned_here,
)
from model.choices import LARGEST_CHUNK, Choices
from tests.checkpoints import speaking_checkpoint

M2 = Subject("Apple M2 (Metal)", "qwen2", 494_032_768, "4 bit")
QUICK = Choices(chunk=128, joined=True, compiled=False)
ROW = Tuned(M2, QUICK, 1.2, 1.0, "0.32.4", "2026-11-22")


@pytest.fixture
def file(places: Paths) -> Path:
    return places.tuned


def test_it_is_kept_for_its_owner_alone_and_a_newer_one_takes_its_place(file: Path) -> None:
    keep_tuned(file, ROW)
    other = msgspec.structs.replace(ROW, subject=msgspec.structs.replace(M2, architecture="llama"))
    better = msgspec.structs.replace(ROW, choices=replace(QUICK, chunk=256))
    keep_tuned(file, other)
    keep_tuned(file, better)
    assert load_tuned(file) == ((other, better), ())
    assert tuned_for(file, M2) == better
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_what_is_forgotten_is_gone_and_the_rest_is_not(file: Path) -> None:
    other = msgspec.structs.replace(ROW, subject=msgspec.structs.replace(M2, parameters=1))
    keep_tuned(file, ROW)
    keep_tuned(file, other)
    assert forget_tuned(file, M2) and not forget_tuned(file, M2)
    assert load_tuned(file) == ((other,), ())


@pytest.mark.parametrize("name", ["device", "architecture", "parameters", "stored"])
def test_it_holds_for_nothing_else(file: Path, name: str) -> None:
    keep_tuned(file, ROW)
    assert tuned_for(file, M2) == ROW
    assert tuned_for(file, msgspec.structs.replace(M2, **{name: 3 if name == "parameters" else "other"})) is None
    assert tuned_for(file, None) is None


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ratios = st.floats(0.01, 100)
rows = st.builds(
    Tuned,
    st.builds(Subject, names, names, st.integers(1, 10**12), names),
    st.builds(Choices, st.integers(1, LARGEST_CHUNK), *[st.booleans()] * 3, st.integers(0, 1 << 62)),
    ratios,
    ratios,
    names,
    names,
)


@given(rows)
@settings(max_examples=30)
def test_whatever_is_kept_comes_back_and_can_be_told_in_a_line(tmp_path_factory, row: Tuned) -> None:
    file = tmp_path_factory.mktemp("data") / "tuned.json"
    keep_tuned(file, row)
    assert load_tuned(file) == ((row,), ())
    line = tuned_here(row, "0")
    assert one_line(line, len(line) * 2) == " ".join(line.split())


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b'{"rows": 5}',
    b'{"rows": [1]}',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"rows":' + b" " * (1 << 21),
]


@pytest.mark.parametrize("written", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_counts_as_empty_with_a_sentence_and_can_be_written_again(file: Path, written: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(written)
    found, (sentence,) = load_tuned(file)
    assert found == () and str(file) in sentence and "damaged" in sentence
    keep_tuned(file, ROW)
    assert load_tuned(file) == ((ROW,), ())


def bent(**changes: object) -> dict[str, object]:
    row = msgspec.to_builtins(ROW)
    for path, value in changes.items():
        *above, name = path.split("__")
        place = row
        for each in above:
            place = place[each]
        place[name] = value
    return row


BENT = [
    bent(choices__chunk=0),
    bent(choices__chunk=LARGEST_CHUNK + 1),
    bent(choices__chunk="128"),
    bent(choices__chunk=True),
    bent(choices__joined=1),
    bent(choices__unpack=-3),
    bent(prefill=0),
    bent(subject__parameters=10**400),
    bent(decode=None),
    bent(subject=[]),
    {},
]


@pytest.mark.parametrize("row", BENT, ids=range(len(BENT)))
def test_a_row_that_cannot_be_meant_is_named_and_the_others_hold(file: Path, row: dict[str, object]) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"rows": [row, msgspec.to_builtins(ROW)]}))
    found, (sentence,) = load_tuned(file)
    assert found == (ROW,) and sentence.startswith(f"Row 1 of {file} is not in force")


def test_names_that_nobody_knows_are_named_and_what_a_newer_version_wrote_stays(file: Path) -> None:
    newer = {"subject": {"chip": "M9"}, "choices": "as you like"}
    row = {**bent(choices__drafts=3), "battery": True}
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"rows": [row, newer], "zz\x1b": 1}))
    found, sentences = load_tuned(file)
    assert found == (ROW,)
    assert [sentence.partition(" in ")[0] for sentence in sentences[:1]] == ["zz"]
    assert any(sentence.startswith("choices.drafts in row 1") for sentence in sentences)
    assert any(sentence.startswith("battery in row 1") for sentence in sentences)
    assert any(sentence.startswith(f"Row 2 of {file}") for sentence in sentences)
    forget_tuned(file, M2)
    assert json.loads(file.read_text()) == {"rows": [newer]}


def test_a_file_that_cannot_be_written_is_one_sentence_and_stays_as_it_was(file: Path, full_disk) -> None:
    keep_tuned(file, ROW)
    before = file.read_bytes()
    full_disk(10)
    with pytest.raises(QuietlyError, match=r"tuned\.json cannot be written \(file too large\)"):
        keep_tuned(file, msgspec.structs.replace(ROW, day="2026-11-23"))
    assert file.read_bytes() == before and [each.name for each in file.parent.iterdir()] == [file.name]


def test_it_is_no_word_of_a_persons(file: Path, places: Paths) -> None:
    keep_tuned(file, ROW)
    assert [(each.file, each.why.partition(" ")[0]) for each in left(places)] == [(file, "what")]


def test_processes_that_keep_at_once_lose_nothing(file: Path) -> None:
    code = (
        "import sys; from app.tuned import *; from model.choices import Choices; from pathlib import Path\n"
        "for n in range(10):\n"
        "    subject = Subject('a', 'b', int(sys.argv[2]) * 10 + n + 1, '')\n"
        "    keep_tuned(Path(sys.argv[1]), Tuned(subject, Choices(64, True, True), 1.0, 1.0, '', ''))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(file), str(each)]) for each in range(3)]
    assert [each.wait(60) for each in started] == [0, 0, 0]
    assert len(load_tuned(file)[0]) == 30


def test_a_line_says_what_was_chosen_what_it_gave_and_when_it_is_of_another_mlx() -> None:
    line = tuned_here(ROW, "0.32.4")
    assert line.startswith("qwen2 494 M 4 bit: prompts by 128 tokens, joined products, steps as they are")
    assert "prompts 1.20, answers 1.00 times" in line and "measure again" not in line
    assert "now it is 0.33.0, so measure again" in tuned_here(ROW, "0.33.0")
    assert told(replace(QUICK, chunk=64), QUICK) == "prompts by 64 tokens" and told(QUICK, QUICK) == ""


@pytest.mark.parametrize("choice", [field.name for field in fields(Choices)])
def test_whatever_is_chosen_otherwise_than_by_the_rule_is_told(choice: str) -> None:
    other = not getattr(QUICK, choice) if isinstance(getattr(QUICK, choice), bool) else 17
    assert told(replace(QUICK, **{choice: other}), QUICK)


# --- engines --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return speaking_checkpoint(tmp_path / "tiny")


@pytest.fixture
def tuned(tiny: Path, file: Path) -> Choices:
    """What holds for the tiny model here."""
    subject = subject_of(find(str(tiny)), this_machine())
    assert subject is not None
    choices = Choices(chunk=7, joined=True, compiled=False)
    keep_tuned(file, msgspec.structs.replace(ROW, subject=subject, choices=choices))
    return choices


def test_the_device_is_chip_and_back_end(tiny: Path) -> None:
    machine = Machine("Apple M2", 1, 1, "macOS 15", "Metal")
    assert device(machine) == M2.device
    subject = subject_of(find(str(tiny)), machine)
    assert subject is not None and subject.architecture == "qwen2" and subject.parameters > 0


def test_what_was_tuned_is_part_of_what_a_load_comes_to(tiny: Path, file: Path, tuned: Choices) -> None:
    assert choices_here(find(str(tiny))) == tuned
    assert appraise(tiny, 0, tuned=file).choices == tuned
    assert appraise(tiny, 0).choices is None
    file.write_text("broken")
    assert appraise(tiny, 0, tuned=file).choices is None


async def test_an_engine_computes_as_was_tuned(tiny: Path, places: Paths, tuned: Choices) -> None:
    pool = engines(places, Settings)
    turn = pool.ask(tiny, [ChatMessage("user", "word " * 400)], session="a", max_tokens=1)
    read = [event.done async for event in turn if isinstance(event, Progress) and event.stage == "prefill"]
    await pool.close()
    *before_the_last, _ = read
    assert [done % tuned.chunk for done in before_the_last] == [0] * len(before_the_last)
    assert max(before_the_last) > 0
