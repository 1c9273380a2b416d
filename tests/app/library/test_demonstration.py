"""The models that come with Quietly: listed last, chosen only where there is nothing else, never deleted."""

import json
from pathlib import Path

import pytest

from app.assets import asset
from app.chat.store import Store
from app.cli.models import get, list_models
from app.errors import QuietlyError
from app.library.local import find, installed
from app.library.places.demonstration import demonstrations_folder
from app.library.removing import removal, remove
from app.shelf import Shelf
from tests.app.library.disks import checkpoint

CARD = "---\nlicense: apache-2.0\n---\n# A demonstration\n"
NAMES = ["demo-llama", "demo-rwkv7"]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of demonstrations in the place of those that Quietly has."""
    folder = tmp_path / "shipped"
    for name in NAMES:
        (checkpoint(folder / name) / "README.md").write_text(CARD)
    monkeypatch.setenv("QUIETLY_DEMONSTRATIONS", str(folder))
    return folder


@pytest.fixture
def others(home: Path) -> None:
    """A model that sorts behind the demonstrations by its name, beside the starter that is always there."""
    checkpoint(home / "data/models/zebra")


def test_they_lie_among_quietlys_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUIETLY_DEMONSTRATIONS")
    assert demonstrations_folder() == asset("demonstration")


def test_they_are_listed_behind_all_others_whatever_these_are_called(shipped: Path, others: None) -> None:
    models = installed([shipped])
    assert [model.name for model in models] == ["starter", "zebra", *NAMES]
    assert {(model.source, model.licence) for model in models[2:]} == {("demonstration", "apache-2.0")}


def test_the_list_calls_them_demonstrations(shipped: Path, others: None, capsys: pytest.CaptureFixture[str]) -> None:
    list_models()
    lines = capsys.readouterr().out.splitlines()
    assert ["demonstration" in line for line in lines] == [False, False, True, True]
    list_models(as_json=True)
    assert [one["source"] for one in json.loads(capsys.readouterr().out)][2:] == ["demonstration"] * 2


def test_one_that_is_asked_for_is_here_already(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    get("demo-llama")
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{shipped / 'demo-llama'}\n", "Spoken to nobody.\n")


def test_one_is_never_deleted_and_a_sentence_says_why(shipped: Path) -> None:
    model = find("demo-llama", [shipped])
    why = "demo-llama is a demonstration: it came with Quietly, and goes when Quietly is uninstalled."
    assert (removal(model).refusal, removal(model).paths) == (why, ())
    with pytest.raises(QuietlyError, match=why):
        remove(model)
    assert (model.path / "model.safetensors").is_file()


def test_one_answers_only_where_there_is_nothing_else_and_for_as_long(shipped: Path, others: None) -> None:
    starter, zebra, *shown = installed()
    with Store.temporary() as store:
        shelf = Shelf(store)
        shelf.fill([zebra, *shown])
        assert shelf.chosen == zebra and not shelf.only_demonstrated
        shelf = Shelf(store)
        shelf.fill(shown)
        assert shelf.chosen == shown[0] and shelf.only_demonstrated
        shelf.fill([starter, *shown])
        assert shelf.chosen == starter and not shelf.only_demonstrated


def test_one_that_was_chosen_stays(shipped: Path) -> None:
    starter, *shown = installed()
    with Store.temporary() as store:
        shelf = Shelf(store)
        shelf.fill(shown)
        shelf.choose(shown[1])
        shelf.fill([starter, *shown])
        assert shelf.chosen == shown[1]
        again = Shelf(store)
        again.fill([starter, *shown])
        assert again.chosen == shown[1] and not again.only_demonstrated
