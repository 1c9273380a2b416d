"""The reader of one file: the Hub's real client against the small Hub, and everything that can go wrong on the way."""

import errno
import hashlib
import os
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

import pytest
from huggingface_hub import get_session
from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError
from huggingface_hub.utils import hf_raise_for_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library import ranges
from app.library.layout import File
from app.library.ranges import PATIENCE, Broken, Reader
from tests.app.library.hub import COMMIT, Hub, blob
from tests.app.library.tiny import FILES, REPO, SECOND

CONTENT = FILES[SECOND]


class Reading:
    """One file of the Hub, its part, and how long was waited and for what."""

    def __init__(self, hub: Hub, folder: Path, name: str = SECOND, content: bytes = CONTENT) -> None:
        self.url = f"{hub.url}/{REPO}/resolve/{COMMIT}/{name}"
        self.file = File(name, len(content), sha256=hashlib.sha256(content).hexdigest())
        self.part = folder / "blob.part"
        self.waits: list[float] = []
        self.said: list[str] = []

    def run(self, wait: Callable[[float], object] = lambda seconds: None) -> bytes:
        """Fetch it; what is in the part then."""

        def waiting(seconds: float) -> None:
            self.waits.append(seconds)
            wait(seconds)

        reader = Reader(get_session(), {}, REPO, hf_raise_for_status, self.said.append, waiting)
        reader.fetch(self.url, self.file, self.part)
        return self.part.read_bytes()


@pytest.fixture
def reading(hub: Hub, tmp_path: Path) -> Reading:
    return Reading(hub, tmp_path)


def test_a_part_is_gone_on_with_from_its_end(hub: Hub, reading: Reading) -> None:
    reading.part.write_bytes(CONTENT[:1_234_567])
    assert reading.run() == CONTENT
    assert hub.parts == [(SECOND, 1_234_567)]
    assert hub.bytes_sent[SECOND] == len(CONTENT) - 1_234_567
    assert reading.said == ["Reading what is here already.", ""]


def test_a_whole_part_is_only_verified(hub: Hub, reading: Reading) -> None:
    reading.part.write_bytes(CONTENT)
    assert reading.run() == CONTENT
    assert not hub.asked


def test_files_without_a_checksum_of_their_own_go_by_gits(hub: Hub, tmp_path: Path) -> None:
    reading = Reading(hub, tmp_path, "README.md")
    content = FILES["README.md"]
    reading.file = File("README.md", len(content), blob=blob(content))
    assert reading.run() == content


def test_an_empty_file_is_a_file(hub: Hub, tmp_path: Path) -> None:
    assert Reading(hub, tmp_path, "empty.json", b"").run() == b""


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, len(CONTENT) // 2), max_size=5),
    here=st.integers(0, len(CONTENT)),
    ranges=st.booleans(),
)
def test_wherever_the_connection_is_cut_the_file_comes_whole_and_nothing_twice(
    hub: Hub, tmp_path: Path, cuts: list[int], here: int, ranges: bool
) -> None:
    hub.cuts, hub.ranges = [*cuts], ranges
    hub.bytes_sent.clear()
    reading = Reading(hub, tmp_path)
    reading.part.write_bytes(CONTENT[:here])
    assert reading.run() == CONTENT
    if ranges:
        assert hub.bytes_sent[SECOND] == len(CONTENT) - here


def test_a_server_that_can_send_no_part_costs_time_and_nothing_else(hub: Hub, reading: Reading) -> None:
    hub.ranges = False
    reading.part.write_bytes(CONTENT[:1_000_000])
    assert reading.run() == CONTENT
    assert hub.bytes_sent[SECOND] == len(CONTENT)


def test_a_part_that_begins_elsewhere_is_not_taken(hub: Hub, reading: Reading) -> None:
    hub.shift = 5
    reading.part.write_bytes(CONTENT[:1000])
    with pytest.raises(Broken, match="another part than was asked for"):
        reading.run()
    assert reading.part.read_bytes() == CONTENT[:1000]


def test_what_comes_while_nothing_is_read_is_little(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = hub.repositories[REPO][SECOND] = os.urandom(24_000_000)
    reading, unread, write = Reading(hub, tmp_path, SECOND, content), [0], ranges._write

    def stop_now_and_then(part: BinaryIO, piece: bytes) -> None:
        if part.tell() > 4_000_000 * len(unread):  # left to itself a system takes in more after each time
            hub.blocked.clear()
            assert hub.blocked.wait(20)
            unread.append(hub.bytes_sent[SECOND] - part.tell())
        write(part, piece)

    monkeypatch.setattr(ranges, "_write", stop_now_and_then)
    assert reading.run() == content
    assert len(unread) == 6 and max(unread) <= 1024 * 1024


LIES = {
    "other bytes": CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]),
    "too short": CONTENT[:-1000],
    "too long": CONTENT + b"more",
    "empty": b"",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("here", [0, 2_999_500])
def test_what_is_not_listed_is_thrown_away_and_asked_for_once_more(
    hub: Hub, reading: Reading, lie: bytes, here: int
) -> None:
    hub.lies[SECOND], hub.lying = lie, 1
    reading.part.write_bytes(CONTENT[:here])
    assert reading.run() == CONTENT
    assert len(hub.parts) == 2 and hub.parts[1] == (SECOND, 0)
    hub.lying = None
    reading.part.write_bytes(CONTENT[:here])
    with pytest.raises(QuietlyError, match=f"{SECOND} is not what the Hub lists"):
        reading.run()
    assert len(hub.parts) == 4 and not reading.part.exists()


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 1])
def test_a_part_that_somebody_else_wrote_never_becomes_a_model(hub: Hub, reading: Reading, length: int) -> None:
    reading.part.write_bytes(b"x" * length)
    assert reading.run() == CONTENT


@pytest.mark.parametrize("status", sorted({408, 429, 500, 502, 503, 504}))
def test_a_busy_server_is_asked_again(hub: Hub, reading: Reading, status: int) -> None:
    hub.answers = [(status, {}), (status, {})]
    assert reading.run() == CONTENT
    assert reading.waits == [*PATIENCE[:2]]
    assert reading.said[0] == f"The server is busy ({status}); trying again in 1 s."


def test_the_pause_that_a_server_asks_for_is_made(hub: Hub, reading: Reading) -> None:
    hub.answers = [(429, {"Retry-After": "7"}), (503, {"Retry-After": formatdate(usegmt=True)})]
    assert reading.run() == CONTENT
    assert reading.waits == [7, 0]


def test_a_header_that_no_server_sends_is_a_broken_try(hub: Hub, reading: Reading) -> None:
    hub.answers = [(206, {"Content-Range": f"bytes {'9' * 5000}-5/6"})]
    assert reading.run() == CONTENT


def test_a_pause_that_is_too_long_is_left_to_the_person(hub: Hub, reading: Reading) -> None:
    hub.answers = [(429, {"Retry-After": "61"})]
    with pytest.raises(Broken):
        reading.run()
    assert not reading.waits


@pytest.mark.parametrize(
    ("status", "code", "error"), [(403, "GatedRepo", GatedRepoError), (404, "EntryNotFound", RemoteEntryNotFoundError)]
)
def test_a_refusal_is_what_the_hubs_client_makes_of_it(
    hub: Hub, reading: Reading, status: int, code: str, error: type[Exception]
) -> None:
    reading.part.write_bytes(CONTENT[:1000])
    hub.answers = [(status, {"X-Error-Code": code})]
    with pytest.raises(error):
        reading.run()
    assert reading.part.read_bytes() == CONTENT[:1000] and not reading.waits


def test_who_cannot_be_reached_at_all_is_soon_given_up(reading: Reading) -> None:
    reading.url = "http://127.0.0.1:9/model"
    with pytest.raises(Broken, match="cannot be reached"):
        reading.run()
    assert reading.waits == [*PATIENCE[:2]]


def test_a_network_that_is_lost_on_the_way_is_waited_for_and_what_came_stays(hub: Hub, reading: Reading) -> None:
    hub.cut_after = 1_000_000
    with pytest.raises(Broken, match="the connection was cut"):
        reading.run()
    assert reading.waits == [*PATIENCE]
    assert reading.part.read_bytes() == CONTENT[:1_000_000]


def test_a_network_that_comes_back_is_noticed(hub: Hub, reading: Reading) -> None:
    hub.cut_after = 1_000_000

    def mend(seconds: float) -> None:
        if seconds == PATIENCE[4]:
            hub.cut_after = None

    assert reading.run(mend) == CONTENT
    assert reading.waits == [*PATIENCE[:5]]


def test_a_disk_that_is_full_in_the_middle_keeps_what_it_took(
    hub: Hub, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ranges._write

    def full(content: BinaryIO, piece: bytes) -> None:
        if content.tell() > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(content, piece)

    monkeypatch.setattr(ranges, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        reading.run()
    here = reading.part.read_bytes()
    assert len(here) > 1_000_000 and CONTENT.startswith(here)
    monkeypatch.undo()
    assert reading.run() == CONTENT
