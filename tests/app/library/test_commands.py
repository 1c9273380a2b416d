"""`quietly models` as a script uses it: what is printed where, against the small Hub."""

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app import connections
from app.chat.store import Store
from app.cli import models as commands
from app.shelf import Shelf
from tests.app.library.disks import checkpoint
from tests.app.library.hub import Hub
from tests.app.library.tiny import FILES, REPO
from tests.terminal import Terminal


def models(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `quietly models` to its end, with nobody to answer it."""
    command = [sys.executable, "-m", "app", "models", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.soak
def test_a_script_gets_lists_and_removes_a_model(hub: Hub, tmp_path: Path) -> None:
    got = models("get", REPO, "--json")
    host = re.escape(connections.place("127.0.0.1", urlsplit(hub.url).port))
    said = rf"Spoken to: {host} \([\d.]+ KiB sent, 3\.0 MiB received\)\.\n"
    assert got.returncode == 0 and re.fullmatch(said, got.stderr), "no bar where nobody looks"
    path = json.loads(got.stdout)["path"]
    assert {file.name for file in Path(path).iterdir()} == {*FILES}
    [listed] = [one for one in json.loads(models("list", "--json").stdout) if one["repo"] == REPO]
    assert listed["path"] == path and listed["unfinished"] is None
    asked = models("remove", REPO, "--json")
    assert asked.returncode != 0 and "--yes" in asked.stderr and Path(path).is_dir()
    removed = models("remove", REPO, "--json", "--yes")
    assert json.loads(removed.stdout)["freed"] > listed["size"]
    assert not list((tmp_path / "home/data/models").iterdir())


@pytest.mark.soak
def test_a_script_has_to_agree_to_a_licence_that_restricts(hub: Hub) -> None:
    hub.said[REPO] = {"config": {"model_type": "PanguEmbedded"}}
    refused = models("get", REPO)
    assert (refused.returncode, refused.stdout) == (1, "") and "--agree" in refused.stderr
    assert "OPENPANGU MODEL LICENSE AGREEMENT" in refused.stderr and "European Union" in refused.stderr
    assert models("get", REPO, "--agree").returncode == 0


def test_at_a_terminal_the_licence_is_asked_about(hub: Hub, tmp_path: Path) -> None:
    hub.said[REPO] = {"cardData": {"license": "gemma"}}
    terminal = Terminal([sys.executable, "-m", "app", "models", "get", REPO], tmp_path)
    terminal.until("gemma. Its maker sets conditions", "Do you agree to it?")
    terminal.type("n\r")
    assert terminal.ends() == 1 and "Nothing was fetched." in terminal.text
    assert not any(path.startswith(f"/{REPO}") for _, path in hub.asked)


def test_an_added_folder_is_forgotten_with_its_model_or_once_it_is_gone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "opened", lambda: nullcontext(store))
    shelf = Shelf(store)
    for name in ("Kept", "Deleted", "Gone"):
        shelf.add_folder(checkpoint(tmp_path / name))
    (tmp_path / "Gone").rename(tmp_path / "elsewhere")
    for name, words in (("Deleted", "is deleted"), ("Gone", "is forgotten")):
        commands.remove(name, yes=True)
        assert words in capsys.readouterr().out
    assert shelf.folders == [tmp_path / "Kept"] and (tmp_path / "elsewhere/config.json").exists()


@pytest.mark.parametrize(
    "command", [["fit", "~nobody-is-called-so/config.json"], ["get", "no/such"], ["get", "a/b\x1b"]]
)
def test_what_cannot_be_had_is_one_sentence_on_standard_error(hub: Hub, command: list[str]) -> None:
    done = models(*command)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("Spoken to") == (command[0] == "get")
    assert "Traceback" not in done.stderr and "\x1b" not in done.stderr and done.stderr.endswith(".\n")
