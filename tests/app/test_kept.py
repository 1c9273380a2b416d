"""Which files of what models have read stay, and which go: with their conversation, beyond a size, with everything."""

import subprocess
import sys
from pathlib import Path

import pytest

from app import kept
from app.answering import session_of
from app.chat.store import Store
from app.doctor import _kept
from app.erasing import erase_everything, left
from app.settings import Paths, private_folder, save_settings
from app.words import activity
from tests.app.living import keep_read as keep


@pytest.fixture
def folder(places: Paths) -> Path:
    return private_folder(places.sessions)


def test_the_name_of_a_file_is_a_number_and_no_word(folder):
    file = kept.file_of(folder, "conversation-12", "a fingerprint / with ../ anything in it")
    assert file.parent == folder and file.name.startswith("conversation-12.") and "fingerprint" not in file.name
    assert kept.file_of(folder, "../../conversation-12", "print") is None


def test_a_temporary_conversation_has_no_file(folder):
    assert kept.file_of(folder, session_of(Store.TEMPORARY + 1), "print") is None
    assert kept.file_of(folder, session_of(7), "print") is not None


def test_forgetting_one_leaves_those_whose_number_begins_alike(folder):
    gone = [keep(folder, 1), keep(folder, 1, fingerprint="other")]
    stays = keep(folder, 12)
    kept.forget(folder, kept.session_of(1))
    assert not any(file.exists() for file in gone) and stays.exists()


def test_forgetting_takes_along_what_a_killed_process_left_half_written(folder):
    (folder / ".session-abcdefgh.safetensors").write_bytes(b"words of whatever conversation")
    kept.forget(folder, kept.session_of(1))
    assert list(folder.iterdir()) == []


def test_the_oldest_go_first(folder):
    files = [keep(folder, number, size=100, age=number) for number in range(1, 6)]
    kept.trim(folder, 250)
    assert [file.exists() for file in files] == [True, True, False, False, False]
    kept.trim(folder, 100, replaced=files[0])
    assert [file.exists() for file in files] == [True, True, False, False, False]


def test_what_is_spared_does_not_give_way_and_nothing_goes_in_vain(folder):
    files = [keep(folder, number, size=100, age=number) for number in range(1, 4)]
    assert not kept.trim(folder, 150, spared=files[1:])
    assert all(file.exists() for file in files)
    assert kept.trim(folder, 250, spared=files[1:])
    assert [file.exists() for file in files] == [False, True, True]


def test_a_sweep_leaves_what_belongs_to_a_conversation_and_what_is_not_ours(folder):
    stays, gone, strange = keep(folder, 1), keep(folder, 2), folder / "mine.txt"
    strange.write_text("mine")
    (folder / f"{stays.name}.refused").write_bytes(b"damaged")
    kept.sweep(folder, {1}, 1000)
    assert stays.exists() and not gone.exists() and strange.exists()
    kept.sweep(folder, {1}, 0)
    assert not folder.exists()
    kept.sweep(folder, {1}, 0)  # and again, where there is nothing


WRITER = """
import sys
from pathlib import Path
import model
from tests.checkpoints import random_checkpoint

folder = Path(sys.argv[1])
session = model.load(random_checkpoint(folder / "model")).session()
session.prefill([1, 2, 3])

def wait(done, total):
    print("writing", flush=True)
    sys.stdin.read()

session.save(folder / "sessions" / "conversation-1.0123456789abcdef.session", progress=wait)
"""


def test_what_a_killed_process_was_writing_goes_and_what_is_being_written_stays(tmp_path):
    folder = private_folder(tmp_path / "sessions")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with writer:
        assert writer.stdout.readline() == b"writing\n"
        (part,) = folder.iterdir()
        kept.trim(folder, 1000)
        assert part.exists()
        writer.kill()
        writer.wait()
    assert kept.kept(folder) == []
    kept.trim(folder, 1000)
    assert list(folder.iterdir()) == []


def test_deleting_everything_leaves_neither_file_nor_folder(places, folder):
    keep(folder, 1)
    with Store.open(places.database) as store:
        erase_everything(places, store)
    assert not folder.exists()
    assert [one for one in left(places) if "sessions" in str(one.file)] == []


def test_deleting_one_by_a_command_takes_its_file_along(places, folder):
    with Store.open(places.database) as store:
        numbers = [store.create(f"Number {number}").id for number in (1, 2)]
    gone, stays = (keep(folder, number) for number in numbers)
    done = subprocess.run(
        [sys.executable, "-m", "app", "delete", str(numbers[0]), "--yes"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert not gone.exists() and stays.exists()


def test_the_doctor_says_how_many_and_how_large(places, folder):
    assert _kept(places) == "what was read of 0 conversations, 0 B of at most 2.0 GiB"
    keep(folder, 1, size=3 << 20)
    keep(folder, 1, size=1 << 20, fingerprint="other")
    assert _kept(places) == "what was read of 1 conversation, 4.0 MiB of at most 2.0 GiB"
    save_settings(places.settings, {"keep_read": 0})
    assert _kept(places) == "nothing is to be; 1 conversation, 4.0 MiB are still there"
    kept.clear(folder)
    assert _kept(places) == "nothing, as it is set"


def test_a_person_is_told_that_reading_is_taken_up():
    assert activity("restore", 3, 30) == "taking up what was read 10 %"
