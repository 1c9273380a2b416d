"""Bringing a model: what is asked for, pinned, kept and replaced, with the Hub's real client against the small Hub."""

import errno
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.errors import QuietlyError
from app.library import download, ranges
from app.library.download import bring, why
from app.library.layout import RECORD, Repository
from app.library.ranges import Broken
from app.library.traffic import Traffic
from tests.app.library.hub import COMMIT, Hub, with_another_host
from tests.app.library.tiny import FILES, FIRST, REPO, SECOND

NEWER = "fedcba9876543210fedcba9876543210fedcba98"


class Bringing:
    """One model that is brought into a folder, by the process that is meant to be killed, were it one."""

    def __init__(self, hub: Hub, models: Path, patch: pytest.MonkeyPatch) -> None:
        self._hub = hub
        self._patch = patch
        self._models = models
        self.folder = Repository(models, REPO).folder

    def run(self, revision: str = "main", repo: str = REPO) -> Path:
        return bring(Repository(self._models, repo), revision, lambda message: None, Traffic())

    def run_half(self) -> None:
        """As far as a million bytes of the second weight file."""
        self._hub.cut_after = 1_000_000
        with self._patch.context() as patch, pytest.raises(Broken):
            patch.setattr(ranges, "PATIENCE", ())
            self.run()
        self._hub.cut_after, self._hub.is_gone = None, False

    def refusal(self, revision: str = "main", repo: str = REPO) -> str:
        """The sentence for a person where it cannot be brought."""
        try:
            self.run(revision, repo)
        except QuietlyError as error:
            return str(error)
        except Exception as error:
            return why(error, repo)
        raise AssertionError("It was brought.")

    @property
    def blobs(self) -> list[str]:
        return [file.name for file in (self.folder / "blobs").iterdir()]


@pytest.fixture
def bringing(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bringing:
    return Bringing(hub, tmp_path / "models", monkeypatch)


def test_the_hubs_own_client_finds_it_there(bringing: Bringing) -> None:
    from huggingface_hub import snapshot_download

    snapshot = bringing.run()
    assert Path(snapshot_download(REPO, cache_dir=snapshot.parents[2], local_files_only=True)) == snapshot


def test_only_the_api_and_the_files_are_asked_for_and_nothing_is_told(hub: Hub, bringing: Bringing) -> None:
    bringing.run()
    files = {f"/{REPO}/resolve/{COMMIT}/{name}" for name in FILES}
    assert sorted(hub.asked) == sorted(("GET", path) for path in (f"/api/models/{REPO}/revision/main", *files))
    assert not any("session" in agent or "agent/" in agent for agent in hub.agents)


def test_what_is_there_already_is_not_fetched_again(hub: Hub, bringing: Bringing) -> None:
    first = bringing.run()
    sent = hub.bytes_sent.copy()
    assert bringing.run() == first
    assert hub.bytes_sent == sent
    (first / FIRST).resolve().unlink()
    (first / "config.json").unlink()
    assert bringing.run() == first
    assert (first / FIRST).read_bytes() == FILES[FIRST] and (first / "config.json").read_bytes() == FILES["config.json"]
    assert hub.sent(SECOND) == 1


def test_a_new_version_replaces_the_old_one_whole_and_what_both_have_is_not_fetched_twice(
    hub: Hub, bringing: Bringing
) -> None:
    bringing.run()
    hub.commit = NEWER
    hub.repositories[REPO] = {"config.json": b"{}", FIRST: FILES[FIRST], "again.json": b"{}"}
    for folder in ("snapshots", "blobs"):
        (bringing.folder / folder / ".DS_Store").write_bytes(b"Finder's")
    snapshot = bringing.run()
    assert snapshot == bringing.folder / "snapshots" / NEWER
    assert {file.name for file in snapshot.iterdir()} == {"config.json", FIRST, "again.json"}
    assert [child.name for child in snapshot.parent.iterdir()] == [NEWER]
    assert len(bringing.blobs) == 2, "of one content once"
    assert bringing.run() == snapshot
    assert hub.sent(FIRST) == 1


@pytest.mark.parametrize("name", [SECOND, "config.json"])
def test_content_that_is_not_what_was_listed_is_never_installed(hub: Hub, bringing: Bringing, name: str) -> None:
    hub.lies[name] = FILES[name][:-1] + bytes([FILES[name][-1] ^ 1])
    assert f"{REPO}: {name} is not what the Hub lists" in bringing.refusal()
    assert not (bringing.folder / "snapshots").exists() and not (bringing.folder / "refs").exists()
    hub.lies.clear()
    assert (bringing.run() / name).read_bytes() == FILES[name]


def test_what_was_begun_ends_as_that_version_whatever_has_become_the_newest(hub: Hub, bringing: Bringing) -> None:
    bringing.run_half()
    hub.commit = NEWER
    asked = len(hub.asked)
    assert bringing.run().name == COMMIT
    assert [path for _, path in hub.asked[asked:]] == [f"/{REPO}/resolve/{COMMIT}/{SECOND}"]
    assert hub.parts[-1] == (SECOND, 1_000_000)
    assert bringing.run().name == NEWER


def test_another_version_than_was_begun_may_be_asked_for(hub: Hub, bringing: Bringing) -> None:
    bringing.run_half()
    hub.commit = NEWER
    hub.repositories[REPO] = {"config.json": FILES["config.json"], "model.safetensors": b"small"}
    assert {file.name for file in bringing.run(NEWER).iterdir()} == {"config.json", "model.safetensors"}
    assert len(bringing.blobs) == 2, "what came of the other has made room"


def test_a_version_that_the_hub_has_lost_is_told(hub: Hub, bringing: Bringing) -> None:
    bringing.run_half()
    del hub.repositories[REPO][SECOND]
    assert "no longer has someone/Tiny-4bit as it was" in bringing.refusal()


def test_a_model_in_the_earlier_layout_stays_until_there_is_a_newer_one(
    hub: Hub, bringing: Bringing, tmp_path: Path
) -> None:
    earlier = tmp_path / "models/someone--Tiny-4bit"
    earlier.mkdir(parents=True)
    for name, content in FILES.items():
        (earlier / name).write_bytes(content)
    (earlier / RECORD).write_text(f'{{"repo": "{REPO}", "revision": "{COMMIT}"}}')
    assert bringing.run() == earlier
    assert not hub.bytes_sent
    hub.commit = NEWER
    earlier.with_name(f"{earlier.name}.part").mkdir()
    assert bringing.run().name == NEWER
    assert [*earlier.parent.iterdir()] == [bringing.folder]


def test_the_token_goes_to_the_hub_and_not_to_where_it_has_its_files(
    hub: Hub, bringing: Bringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with with_another_host(hub):
        bringing.run_half()
        assert (bringing.run() / SECOND).read_bytes() == FILES[SECOND]
    assert hub.parts[-1] == (SECOND, 1_000_000), "ranges are asked of the other host too"
    assert {place.partition("/")[0] for place, _ in hub.tokens} == {urlsplit(hub.url).netloc}
    assert {token for _, token in hub.tokens} == {"Bearer hf_secret"}
    assert sum("/resolve/" in place for place, _ in hub.tokens) == len(FILES), "each file was asked for with it"


def test_a_proxy_is_spoken_to_instead(hub: Hub, bringing: Bringing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.url)
    assert (bringing.run() / SECOND).read_bytes() == FILES[SECOND]


def test_missing_gated_and_refused_models_are_told_apart(hub: Hub, bringing: Bringing) -> None:
    assert "There is no someone/nothing" in bringing.refusal(repo="someone/nothing")
    assert "no such revision" in bringing.refusal("v9")
    hub.gated = True
    assert "accept its conditions" in bringing.refusal()


@pytest.mark.parametrize(("status", "words"), [(401, "HF_TOKEN"), (429, "pause"), (500, "answered 500")])
def test_a_hub_that_does_not_serve_is_quoted(hub: Hub, bringing: Bringing, status: int, words: str) -> None:
    hub.status = status
    assert words in bringing.refusal()


def test_a_server_that_asks_for_too_long_a_pause_is_quoted(hub: Hub, bringing: Bringing) -> None:
    hub.answers = [(429, {"Retry-After": "3600"})]
    assert "asks for a pause of 60 minutes" in bringing.refusal()
    for absurd in ("9" * 400, "Tue, 01 Jan 9999 00:00:00 GMT"):
        hub.answers = [(429, {"Retry-After": absurd})]
        assert "asks for a pause of 1440 minutes" in bringing.refusal()
    assert bringing.run().is_dir()


def test_a_server_that_stays_busy_is_told_once_the_waiting_is_over(hub: Hub, bringing: Bringing) -> None:
    hub.answers = [(503, {"Retry-After": "0"})] * 3
    assert f"{REPO} did not come whole, the server is busy (503)" in bringing.refusal()


def test_a_network_that_is_lost_on_the_way_is_told(
    hub: Hub, bringing: Bringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    bringing.run_half()
    hub.cut_after, hub.is_gone = 0, True
    monkeypatch.setattr(ranges, "PATIENCE", ())
    assert "cannot be reached" in bringing.refusal()


def test_repositories_without_usable_weights_are_refused_before_a_byte_is_fetched(hub: Hub, bringing: Bringing) -> None:
    hub.repositories["someone/Pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    hub.repositories["someone/Bare"] = {"model.safetensors": b"weights"}
    assert "no safetensors" in bringing.refusal(repo="someone/Pickled")
    assert "no config.json" in bringing.refusal(repo="someone/Bare")
    assert not hub.bytes_sent


def test_names_that_are_one_on_many_disks_are_refused_before_a_byte_is_fetched(hub: Hub, bringing: Bringing) -> None:
    hub.repositories["someone/Twice"] = {**FILES, "Config.json": b"{}"}
    assert "makes no sense" in bringing.refusal(repo="someone/Twice")
    assert not hub.bytes_sent


def test_a_full_disk_is_noticed_before_the_first_byte(
    hub: Hub, bringing: Bringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MARGIN", 1 << 60)
    assert "make room first" in bringing.refusal()
    assert not hub.bytes_sent


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_from_other_errors(number: int) -> None:
    assert "make room" in why(OSError(number, "full"), REPO)
    assert "download.log" in why(OSError(errno.EIO, "broken"), REPO)


def test_a_certificate_that_is_not_trusted_is_no_lost_network() -> None:
    error = ConnectionError("handshake failed")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert "SSL_CERT_FILE" in why(error, REPO)
