"""Fetching models: the real client in its real process, against a small Hub on loopback."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app import connections
from app.connections import Connection, Ledger
from app.errors import QuietlyError
from app.library import download
from app.library.download import fetch
from app.library.local import installed
from app.library.traffic import Traffic
from tests.app.library.hub import COMMIT, Hub, running

REPO = "someone/Tiny-4bit"
SHAPE = {
    "model_type": "qwen2",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 16,
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FILES = {
    "config.json": json.dumps(SHAPE).encode(),
    "tokenizer.json": b"{}" * 200,
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode(),
    FIRST: os.urandom(100_000),
    SECOND: os.urandom(3_000_000),
}
UNWANTED = {
    "modeling.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": b"again",
    ".gitattributes": b"*.safetensors filter=lfs",
    "onnx/model.json": b"{}",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("QUIETLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in (
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "http_proxy",
        "HTTP_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running(Hub(repositories={REPO: {**FILES, **UNWANTED}})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


async def refusal(repo: str = REPO, models: Path | None = None, **more: str) -> str:
    with pytest.raises(QuietlyError) as caught:
        await fetch(repo, models, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 300 and "Traceback" not in sentence
    return sentence


async def test_a_model_is_fetched_verified_and_then_installed(hub: Hub, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    folder = await fetch(REPO, progress=lambda done, total: reports.append((done, total)))
    assert folder == tmp_path / "home/data/models/someone--Tiny-4bit"
    assert {file.name for file in folder.iterdir()} == {*FILES, download.RECORD}, "nothing unread, no notes, no code"
    assert all((folder / name).read_bytes() == content for name, content in FILES.items())
    assert json.loads((folder / download.RECORD).read_text()) == {"repo": REPO, "revision": COMMIT}
    total = sum(map(len, FILES.values()))
    assert reports[-1] == (total, total)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    [model] = [model for model in installed() if model.source == "quietly"]
    assert (model.name, model.repo, model.licence, model.problem) == ("Tiny-4bit", REPO, "apache-2.0", None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.parent.glob("*.part"))


async def test_only_the_api_and_the_files_are_asked_for_and_nothing_is_told(hub: Hub) -> None:
    await fetch(REPO)
    api = {f"/api/models/{REPO}/revision/main", f"/api/models/{REPO}/tree/{COMMIT}"}
    files = {f"/{REPO}/resolve/{COMMIT}/{name}" for name in FILES}
    assert {path for _, path in hub.asked} <= api | files
    assert not any("session" in agent or "agent/" in agent for agent in hub.agents)


async def test_the_ledger_has_whom_the_download_spoke_to_and_how_much(hub: Hub, ledger: Ledger) -> None:
    await fetch(REPO)
    [spoken] = by_download(ledger)
    assert spoken.host == connections.place("127.0.0.1", urlsplit(hub.url).port)
    assert spoken.why == f"download of {REPO}" and spoken.times >= 1
    total = sum(map(len, FILES.values()))
    assert spoken.received is not None and total < spoken.received < total + 1000 * len(hub.asked)
    assert spoken.sent is not None and 100 * len(hub.asked) < spoken.sent < 1000 * len(hub.asked)


async def test_a_download_that_is_killed_has_said_whom_it_spoke_to(hub: Hub, ledger: Ledger) -> None:
    hub.stall_after = 1_000_000
    task = asyncio.create_task(fetch(REPO))
    assert await asyncio.to_thread(hub.stalled.wait, 20)
    while sum(one.received or 0 for one in by_download(ledger)) < 1_000_000:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert by_download(ledger)[0].times >= 1


async def test_a_host_that_cannot_be_reached_was_spoken_to_all_the_same(
    hub: Hub, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    await refusal()
    [spoken] = by_download(ledger)
    assert spoken.host == connections.place("127.0.0.1", 9) and spoken.times >= 1
    assert spoken.sent is None and spoken.received is None


def test_the_command_says_at_its_end_whom_it_spoke_to(hub: Hub) -> None:
    def get(name: str) -> str:
        command = [sys.executable, "-P", "-m", "app", "models", "get", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stderr.count("poken to") == 1 and "poken to" not in done.stdout
        return next(line for line in done.stderr.splitlines() if "poken to" in line)

    host = re.escape(connections.place("127.0.0.1", urlsplit(hub.url).port))
    assert re.fullmatch(rf"Spoken to: {host} \([\d.]+ KiB sent, 3\.0 MiB received\)\.", get(REPO))
    assert re.fullmatch(
        rf"Spoken to: {host} \([\d.]+ (KiB|B) sent, [\d.]+ (KiB|B) received\)\.", get("someone/nothing")
    )
    assert get("starter") == "Spoken to nobody."


async def test_what_is_there_already_is_not_fetched_again(hub: Hub) -> None:
    first = await fetch(REPO)
    sent = hub.sent(SECOND)
    assert await fetch(REPO) == first
    assert hub.sent(SECOND) == sent
    (first / FIRST).unlink()
    assert await fetch(REPO) == first
    assert (first / FIRST).read_bytes() == FILES[FIRST]


async def test_a_new_version_replaces_the_old_one_whole(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = await fetch(REPO)
    (folder / download.RECORD).write_text('{"repo": "someone/Tiny-4bit", "revision": "older"}')
    (folder / "left_over.json").write_text("{}")
    hub.repositories[REPO] = {"config.json": FILES["config.json"], "model.safetensors": b"new"}
    assert await fetch(REPO) == folder
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", download.RECORD}
    assert [child.name for child in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(("name", "same_length"), [(SECOND, True), ("config.json", True), (FIRST, False)])
async def test_content_that_is_not_what_was_listed_is_never_installed(
    hub: Hub, tmp_path: Path, name: str, same_length: bool
) -> None:
    content = FILES[name]
    hub.lies[name] = content[:-1] + b"#" if same_length else content + b"more"
    sentence = await refusal()
    assert REPO in sentence
    assert not (tmp_path / "home/data/models/someone--Tiny-4bit").exists()
    hub.lies.clear()
    folder = await fetch(REPO)
    assert (folder / name).read_bytes() == content


async def test_a_download_killed_in_the_middle_is_listed_as_such_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after = 1_000_000
    part = tmp_path / "home/data/models/someone--Tiny-4bit.part"
    first_is_whole = asyncio.Event()
    task = asyncio.create_task(
        fetch(REPO, progress=lambda done, total: first_is_whole.set() if (part / FIRST).exists() else None)
    )
    assert await asyncio.to_thread(hub.stalled.wait, 20)
    await asyncio.wait_for(first_is_whole.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [model] = [model for model in installed() if model.source == "quietly"]
    assert model.problem == "The download of Tiny-4bit has not finished: get it again to go on."
    hub.stall_after = None
    folder = await fetch(REPO)
    assert (folder / SECOND).read_bytes() == FILES[SECOND]
    assert hub.sent(FIRST) == 1, "what was whole is not fetched twice"


async def test_a_killed_process_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after = 1_000_000
    task = asyncio.create_task(refusal())
    assert await asyncio.to_thread(hub.stalled.wait, 20)
    for process in children():
        os.kill(process, signal.SIGKILL)
    assert "ended early" in await task
    assert not (tmp_path / "home/data/models/someone--Tiny-4bit").exists()


async def test_the_process_ends_when_nobody_waits_for_it(hub: Hub, tmp_path: Path) -> None:
    hub.stall_after = 1_000_000
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "app.library.download", REPO, "main", str(tmp_path / "models")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=download._environment(),
    )
    assert await asyncio.to_thread(hub.stalled.wait, 20)
    assert child.stdin is not None
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 10) == 1


async def test_two_downloads_of_one_model_do_not_meet(hub: Hub) -> None:
    hub.stall_after = 1_000_000
    task = asyncio.create_task(fetch(REPO))
    assert await asyncio.to_thread(hub.stalled.wait, 20)
    assert "is being fetched already" in await refusal()
    hub.stall_after = None
    hub.go_on.set()
    assert (await task).is_dir()


async def test_missing_gated_and_refused_models_are_told_apart(hub: Hub) -> None:
    assert "There is no someone/nothing" in await refusal("someone/nothing")
    assert "no such revision" in await refusal(revision="v9")
    hub.gated = True
    assert "accept its conditions" in await refusal()


@pytest.mark.parametrize(("status", "words"), [(401, "HF_TOKEN"), (429, "pause"), (500, "answered 500")])
async def test_a_hub_that_does_not_serve_is_quoted(hub: Hub, status: int, words: str) -> None:
    hub.status = status
    assert words in await refusal()


async def test_a_hub_that_is_gone_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in await refusal()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in await refusal()


@pytest.mark.soak
async def test_a_hub_that_goes_away_in_the_middle_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 1_000_000
    assert "cannot be reached" in await refusal()
    hub.cut_after = None
    assert ((await fetch(REPO)) / SECOND).read_bytes() == FILES[SECOND]


async def test_a_place_that_is_taken_by_a_file_is_named(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "taken cannot be made" in await refusal(models=tmp_path / "taken")


async def test_repositories_without_usable_weights_are_refused_before_a_byte_is_fetched(hub: Hub) -> None:
    hub.repositories["someone/Pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    hub.repositories["someone/Bare"] = {"model.safetensors": b"weights"}
    assert "no safetensors" in await refusal("someone/Pickled")
    assert "no config.json" in await refusal("someone/Bare")
    assert not any("/resolve/" in path for _, path in hub.asked)


@pytest.mark.parametrize("repo", ["", "model", "a/b/c", "../etc/passwd", "a/..", "-x/y", "a/b\n", "a b/c", "/a/b"])
async def test_what_names_no_repository_is_refused_without_asking(hub: Hub, repo: str) -> None:
    assert "organisation/name" in await refusal(repo)
    assert not hub.asked


def test_a_full_disk_is_noticed_before_the_first_byte(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MARGIN", 1 << 60)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    with pytest.raises(QuietlyError, match="make room first"):
        download._fetch(REPO, "main", tmp_path, lambda message: None, Traffic())


def by_download(ledger: Ledger) -> list[Connection]:
    """What a download told of."""
    return [one for one in ledger.connections if one.by == "download"]


def children() -> list[int]:
    """This process's own, by a listing that Linux and macOS both have."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,command="], capture_output=True, text=True).stdout
    found = [row.split(maxsplit=2) for row in rows.splitlines()]
    return [int(pid) for pid, parent, command in found if int(parent) == os.getpid() and "app.library" in command]
