"""Fetching models: the real client in its real process, against a small Hub on loopback."""

import asyncio
import os
import resource
import signal
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app import connections
from app.connections import Connection, Ledger
from app.errors import QuietlyError
from app.library.download import fetch, wanted
from app.library.layout import RECORD, File, read_record, unfinished
from app.library.licences import Unagreed
from tests.app.library.children import children
from tests.app.library.hub import COMMIT, Hub
from tests.app.library.tiny import FILES, FIRST, REPO, SECOND, TOTAL
from tests.waiting import PATIENCE, until

FOLDER = "home/data/models/models--someone--Tiny-4bit"


async def refusal(repo: str = REPO, models: Path | None = None, **more: str) -> str:
    with pytest.raises(QuietlyError) as caught:
        await fetch(repo, models, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 300 and "Traceback" not in sentence
    return sentence


async def until_stalled(hub: Hub) -> "asyncio.Task[Path]":
    """A download that has got as far as it can."""
    task = asyncio.create_task(fetch(REPO))
    assert await asyncio.to_thread(hub.stalled.wait, PATIENCE)
    return task


async def killed(task: "asyncio.Task[Path]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def half_fetched(hub: Hub, after: int = 1_000_000) -> None:
    """Have a download killed in the middle of the second weight file."""
    hub.stall_after = after
    task = await until_stalled(hub)
    await killed(task)
    hub.stall_after = None


def test_a_world_models_vocabulary_is_read_and_its_code_is_not() -> None:
    kept = ["config.json", "model.safetensors", "rwkv_vocab_v20230424.txt"]
    listed = [File(name, 1, "", "") for name in (*kept, "hf_rwkv_tokenizer.py", "notes.txt", "weights.pth")]
    assert [file.name for file in wanted("RWKV/Goose", listed)] == kept


async def test_a_licence_that_restricts_is_agreed_to_once_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.said[REPO] = {"cardData": {"license": "other", "license_name": "openpangu-model-license-agreement-version-1.0"}}
    with pytest.raises(Unagreed) as unagreed:
        await fetch(REPO)
    assert "European Union" in unagreed.value.terms.says and REPO in str(unagreed.value)
    assert [path for _, path in hub.asked] == [f"/api/models/{REPO}/revision/main"]
    assert not (tmp_path / FOLDER).exists()
    hub.stall_after = 1_000_000
    task = asyncio.create_task(fetch(REPO, agreed=True))
    assert await asyncio.to_thread(hub.stalled.wait, PATIENCE)
    await killed(task)
    hub.stall_after = None
    assert (await fetch(REPO)).is_dir(), "what was agreed to is gone on with, and what is here is there"
    assert (await fetch(REPO)).is_dir()


@pytest.mark.parametrize(
    "said",
    [
        {"cardData": {"license": "apache-2.0"}, "config": {"model_type": "PanguEmbedded"}},
        {"cardData": {"license": ["mit", "gemma"]}, "tags": ["license:gemma"]},
    ],
    ids=["architecture", "tag"],
)
async def test_it_is_also_known_by_what_else_the_hub_says(hub: Hub, said: dict[str, object]) -> None:
    hub.said[REPO] = said
    with pytest.raises(Unagreed):
        await fetch(REPO)


async def test_a_model_is_fetched_and_verified_and_lies_as_in_the_cache_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    snapshot = await fetch(REPO, progress=lambda done, total: reports.append((done, total)))
    folder = tmp_path / FOLDER
    assert snapshot == folder / "snapshots" / COMMIT
    assert {file.name for file in snapshot.iterdir()} == {*FILES}, "nothing unread, no notes, no code"
    assert all((snapshot / name).read_bytes() == content for name, content in FILES.items())
    assert all((snapshot / name).readlink().parent == Path("../../blobs") for name in FILES)
    assert (folder / "refs/main").read_text() == COMMIT
    record = read_record(folder)
    assert record is not None and (record.revision, record.commit, record.complete) == ("main", COMMIT, True)
    assert reports[-1] == (TOTAL, TOTAL)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {child.name for child in folder.iterdir()} == {"blobs", "snapshots", "refs", RECORD}
    assert len(list((folder / "blobs").iterdir())) == len(FILES)
    assert list(folder.parent.iterdir()) == [folder], "no lock, no leftovers"


async def test_the_ledger_has_whom_the_download_spoke_to_and_how_much(hub: Hub, ledger: Ledger) -> None:
    await fetch(REPO)
    [spoken] = by_download(ledger)
    assert spoken.host == connections.place("127.0.0.1", urlsplit(hub.url).port)
    assert spoken.why == f"download of {REPO}" and spoken.times >= 1
    assert spoken.received is not None and TOTAL < spoken.received < TOTAL + 2000 * len(hub.asked)
    assert spoken.sent is not None and 100 * len(hub.asked) < spoken.sent < 1000 * len(hub.asked)


async def test_a_download_that_is_killed_has_said_whom_it_spoke_to(hub: Hub, ledger: Ledger) -> None:
    hub.stall_after = 1_000_000
    task = await until_stalled(hub)
    await until(lambda: sum(one.received or 0 for one in by_download(ledger)) >= 1_000_000)
    await killed(task)
    assert by_download(ledger)[0].times >= 1


async def test_a_host_that_cannot_be_reached_was_spoken_to_all_the_same(
    hub: Hub, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    await refusal()
    [spoken] = by_download(ledger)
    assert spoken.host == connections.place("127.0.0.1", 9) and spoken.times >= 1
    assert spoken.sent is None and spoken.received is None


async def test_a_download_killed_in_the_middle_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    await half_fetched(hub, after=1_000_000)
    here, total = unfinished(tmp_path / FOLDER) or (0, 0)
    assert total == TOTAL and TOTAL - len(FILES[SECOND]) < here <= TOTAL - len(FILES[SECOND]) + 1_000_000
    assert not (tmp_path / FOLDER / "snapshots").exists()
    reports: list[int] = []
    snapshot = await fetch(REPO, progress=lambda done, total: reports.append(done))
    assert (snapshot / SECOND).read_bytes() == FILES[SECOND]
    assert reports[0] >= here
    assert hub.sent(FIRST) == 1, "what was whole is not fetched twice"
    assert hub.bytes_sent.total() <= TOTAL + 1024 * 1024
    assert hub.parts[-1] == (SECOND, here - (TOTAL - len(FILES[SECOND])))


async def test_a_killed_process_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after = 1_000_000
    task = asyncio.create_task(refusal())
    assert await asyncio.to_thread(hub.stalled.wait, PATIENCE)
    for process in children():
        os.kill(process, signal.SIGKILL)
    assert "ended early" in await task
    assert not (tmp_path / FOLDER / "snapshots").exists()


async def test_two_downloads_of_one_model_do_not_meet(hub: Hub) -> None:
    hub.stall_after = 1_000_000
    task = await until_stalled(hub)
    assert "is being fetched already" in await refusal()
    hub.stall_after = None
    hub.go_on.set()
    assert (await task).is_dir()


async def test_a_hub_that_is_gone_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in await refusal()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in await refusal()


async def test_while_a_server_is_busy_the_download_says_that_it_waits(hub: Hub) -> None:
    hub.answers = [(503, {"Retry-After": "0"})]
    said: list[str] = []
    assert ((await fetch(REPO, doing=said.append)) / SECOND).read_bytes() == FILES[SECOND]
    assert said == ["The server is busy (503); trying again in 1 s.", ""]


async def test_a_place_that_is_taken_by_a_file_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "taken cannot be made" in await refusal(models=tmp_path / "taken")


@pytest.mark.parametrize("repo", ["", "model", "a/b/c", "../etc/passwd", "a/..", "-x/y", "a/b\n", "a b/c", "/a/b"])
async def test_what_names_no_repository_is_refused_without_asking(hub: Hub, repo: str) -> None:
    assert "organisation/name" in await refusal(repo)
    assert not hub.asked


async def test_a_disk_that_takes_no_more_in_the_middle_is_one_sentence_and_what_came_stays(
    hub: Hub, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        assert "takes no file as large" in await refusal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert unfinished(tmp_path / FOLDER) == (TOTAL - len(FILES[SECOND]) + 1_000_000, TOTAL)
    assert ((await fetch(REPO)) / SECOND).read_bytes() == FILES[SECOND]
    assert hub.parts[-1] == (SECOND, 1_000_000)


def by_download(ledger: Ledger) -> list[Connection]:
    """What a download told of."""
    return [one for one in ledger.connections if one.by == "download"]
