"""Deleting models: what goes is told before and counted after, nothing is left behind, and nothing else goes."""

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library import starter
from app.library.layout import Repository
from app.library.local import find, installed
from app.library.records import InstalledModel
from app.library.removing import removal, remove
from app.settings import Paths
from model.tokenizer_files import WORLD
from model.weights.gguf import convert
from tests.app.library.disks import (
    COMMIT,
    OLDER,
    WEIGHTS,
    checkpoint,
    fetched,
    ollama_layer,
    ollama_model,
    only,
    snapshot,
    tree,
)
from tests.model.gguf_files import write_gguf


def held(folder: Path) -> int:
    """Bytes of all files below a folder, by what the disk has."""
    states = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(state.st_dev, state.st_ino): state.st_size for state in states}.values())


def goes(model: InstalledModel, within: Path) -> int:
    """Delete it; what was told before is what went."""
    told, before = removal(model), held(within)
    assert not told.refusal and told.paths and all(os.path.lexists(path) for path in told.paths)
    freed = remove(model)
    assert freed == told.frees == before - held(within)
    assert not any(os.path.lexists(path) for path in told.paths)
    return freed


def refusal(model: InstalledModel) -> str:
    """Why it is not deleted; nothing has changed."""
    told = removal(model)
    assert told.paths == () and told.frees == 0
    with pytest.raises(QuietlyError) as caught:
        remove(model)
    assert str(caught.value) == told.refusal
    return told.refusal


# --- Quietly's own --------------------------------------------------------------------------------


@pytest.fixture
def own(home: Path) -> Path:
    return home / "data/models"


@pytest.mark.parametrize("done", [None, {"config.json": 10_000, "model.safetensors": 33}])
def test_what_quietly_fetched_goes_with_all_that_belongs_to_it(own: Path, done: dict[str, int] | None) -> None:
    fetched(own, done=done)
    assert goes(only(installed()), own) > 0
    assert tree(own) == set()


def test_a_gguf_file_in_quietly_s_folder_goes_with_its_conversion(own: Path, places: Paths) -> None:
    file = write_gguf(own / "mine.gguf")
    converted = convert(file, places.conversions, lambda done, total: None)
    goes(only(installed()), places.data.parent)
    assert tree(own) == set() and not converted.exists()


def test_what_is_being_fetched_is_not_deleted_meanwhile(own: Path) -> None:
    fetched(own, done={"model.safetensors": 33})
    model, before = only(installed()), tree(own)
    with Repository(own, "org/Model").alone(), pytest.raises(QuietlyError, match="is being fetched already"):
        remove(model)
    assert tree(own) == before


@pytest.mark.parametrize("name", ["org--Model", "org--Model.part", "Model-4bit"])
def test_folders_of_the_earlier_layout_and_quantised_ones_go_whole(own: Path, name: str) -> None:
    folder = checkpoint(own / name)
    (folder / "anything").mkdir()
    (folder / "anything/else").write_bytes(b"12345")
    checkpoint(own / "org--Other")
    goes(next(model for model in installed() if model.path == folder), own)
    assert {path.name for path in own.iterdir()} == {"org--Other"}


# --- the Hub's cache ------------------------------------------------------------------------------


@pytest.fixture
def cache(home: Path) -> Path:
    return home / "huggingface/hub"


def test_a_cached_repository_goes_with_its_locks(cache: Path) -> None:
    repository = snapshot(cache, "org/Model").parents[1]
    (repository / "blobs/other.incomplete").write_bytes(b"half")
    (repository / f".no_exist/{COMMIT}").mkdir(parents=True)
    (cache / ".locks" / repository.name).mkdir(parents=True)
    (cache / ".locks" / repository.name / "sha.lock").touch()
    (cache / "version.txt").write_text("1")
    assert "Other programs" in removal(only(installed())).sentence
    goes(only(installed()), cache)
    assert tree(cache) == {"version.txt"}


def test_what_another_version_needs_stays(cache: Path) -> None:
    newer = snapshot(cache, "org/Model", files={"config.json": b"{}", "model.safetensors": WEIGHTS})
    older = snapshot(cache, "org/Model", OLDER, ref=False, files={"a": b"old", "model.safetensors": WEIGHTS})
    repository = newer.parents[1]
    (repository / "refs/tag").write_text(COMMIT)
    (repository / "refs/old").write_text(OLDER)
    (repository / f".no_exist/{COMMIT}").mkdir(parents=True)
    assert "Another version of it stays" in removal(only(installed())).sentence
    assert goes(only(installed()), cache) == len(b"{}") + 2 * len(COMMIT)
    assert (older / "model.safetensors").read_bytes() == WEIGHTS and (older / "a").read_bytes() == b"old"
    assert tree(repository) & {"refs/main", "refs/tag", ".no_exist"} == set()
    goes(only(installed()), cache)
    assert tree(cache) == set()


def test_a_folder_that_is_only_called_like_a_repository_is_not_taken_for_one(tmp_path: Path) -> None:
    mine = tmp_path / "models--mine"
    (mine / "letters").mkdir(parents=True)
    (mine / "letters/one.txt").write_text("dear")
    assert "holds no model" in refusal(only(installed([mine])))
    (mine / "blobs").mkdir()
    (mine / "blobs/other.incomplete").write_bytes(b"half")
    assert goes(only(installed([mine])), tmp_path) == 4
    assert tree(mine) == {"letters", "letters/one.txt"}


@pytest.mark.parametrize("others", [(), (OLDER,)])
def test_the_hub_s_client_would_free_the_same_and_finds_order(cache: Path, others: tuple[str, ...]) -> None:
    from huggingface_hub import scan_cache_dir

    for number, commit in enumerate((COMMIT, *others)):
        files = {"config.json": b"{}" + b" " * number, "model.safetensors": WEIGHTS}
        snapshot(cache, "org/Model", commit, ref=commit == COMMIT, files=files)
    snapshot(cache, "org/Other", OLDER)
    theirs = scan_cache_dir(cache).delete_revisions(COMMIT).expected_freed_size
    assert goes(find("org/Model"), cache) == theirs + len(COMMIT), "they do not count the ref"
    found = scan_cache_dir(cache)
    assert found.warnings == [] and {repo.repo_id for repo in found.repos} == {
        "org/Other",
        *["org/Model"] * len(others),
    }


def test_one_gguf_file_of_a_repository_goes_alone_and_the_last_with_the_rest(cache: Path, tmp_path: Path) -> None:
    content = write_gguf(tmp_path / "made.gguf").read_bytes()
    files = {"more/a.gguf": content, "b.gguf": content + b"\0", "README.md": b"card"}
    here = snapshot(cache, "org/Model-GGUF", files=files)
    assert goes(find("a"), cache) == len(content)
    assert find("b").problem is None and not (here / "more").exists()
    goes(find("b"), cache)
    assert tree(cache) == set()


def test_a_repository_that_lies_on_another_disk_is_removed_as_the_link_that_it_is(
    cache: Path, places: Paths, tmp_path: Path
) -> None:
    snapshot(tmp_path / "large disk", "org/Model")
    snapshot(tmp_path / "large disk", "org/Model", OLDER, ref=False, files={"config.json": b"{}"})
    there = tree(tmp_path / "large disk")
    for folder in (cache, places.models):
        folder.mkdir(parents=True)
        (folder / "models--org--Model").symlink_to(tmp_path / "large disk/models--org--Model")
        assert "what it leads to stays" in removal(only(installed())).sentence
        assert goes(only(installed()), folder) == 0
        assert tree(folder) == set() and tree(tmp_path / "large disk") == there


def test_what_an_interrupted_update_left_goes_with_quietlys_own(places: Paths) -> None:
    snapshot(places.models, "org/Model")
    snapshot(places.models, "org/Model", OLDER, ref=False, files={"model.safetensors": b"older"})
    goes(only(installed()), places.models)
    assert tree(places.models) == set()


def test_a_link_out_of_the_cache_is_removed_as_a_link(cache: Path, tmp_path: Path) -> None:
    here = snapshot(cache, "org/Model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    (here / "away").symlink_to(tmp_path / "mine")
    (here / "letter").symlink_to(tmp_path / "mine/letter.txt")
    goes(only(installed()), cache)
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"


# --- LM Studio's and Ollama's ---------------------------------------------------------------------


@pytest.fixture
def studio(home: Path) -> Path:
    return home / ".lmstudio/models"


def test_the_folders_above_go_once_they_are_empty(studio: Path) -> None:
    for name in ("a", "b"):
        write_gguf(studio / f"someone/Tiny-GGUF/{name}.gguf")
    (studio / "someone/.DS_Store").write_bytes(b"Finder's")
    assert "LM Studio will not find it" in removal(find("a")).sentence
    remove(find("a"))
    assert tree(studio) == {"someone", "someone/.DS_Store", "someone/Tiny-GGUF", "someone/Tiny-GGUF/b.gguf"}
    remove(find("b"))
    assert studio.is_dir() and tree(studio) == set()


def test_an_mlx_folder_of_lm_studio_goes_whole(studio: Path) -> None:
    folder = checkpoint(studio / "mlx-community/Model-4bit")
    for name in (
        "README.md",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        WORLD,
        ".gitattributes",
    ):
        (folder / name).write_text("{}")
    goes(find("Model-4bit"), studio)
    assert tree(studio) == set()


def test_half_a_download_of_lm_studio_goes(studio: Path) -> None:
    part = studio / "someone/Tiny-GGUF/downloading_Tiny.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"GGUF")
    assert goes(only(installed()), studio) == 4
    assert tree(studio) == set()


def test_ollama_s_are_left_to_ollama(home: Path, tmp_path: Path) -> None:
    models = home / ".ollama/models"
    layer = ollama_layer(models, "model", write_gguf(tmp_path / "made.gguf").read_bytes())
    ollama_model(models, "registry.ollama.ai/library/tiny/1b", layer)
    before = tree(models)
    assert refusal(find("tiny:1b")) == "tiny:1b is Ollama's: delete it with `ollama rm tiny:1b`."
    assert tree(models) == before


# --- folders of a person's own --------------------------------------------------------------------


def test_of_a_folder_with_other_things_only_the_checkpoint_goes(tmp_path: Path) -> None:
    mine = checkpoint(tmp_path / "mine")
    (mine / "letters").mkdir()
    (mine / "letters/one.txt").write_text("dear")
    (mine / "photo.png").write_bytes(b"png")
    (mine / "README.md").write_text("about my letters")
    model = only(installed([tmp_path]))
    assert removal(model).sentence == "2 other things in its folder stay."
    goes(model, tmp_path)
    assert tree(mine) == {"letters", "letters/one.txt", "photo.png", "README.md"}
    assert only(installed([mine])).problem is not None


def test_a_folder_that_is_a_checkpoint_goes_and_those_around_it_stay(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "added/publisher/one")
    (one / ".cache/huggingface").mkdir(parents=True)
    goes(only(installed([tmp_path / "added"])), tmp_path)
    assert tree(tmp_path) == {"added"}, "the folder that was named stays, and nothing above it is looked at"
    goes(only(installed([checkpoint(tmp_path / "added/two")])), tmp_path)
    assert tree(tmp_path) == {"added"}


def test_all_parts_of_a_file_go_and_no_others(tmp_path: Path) -> None:
    for name in ("big-00001-of-00002", "big-00002-of-00002", "bigger-00001-of-00002", "big-00001-of-00003"):
        (tmp_path / f"{name}.gguf").write_bytes(b"GGUF")
    model = next(model for model in installed([tmp_path]) if model.path.name == "big-00001-of-00002.gguf")
    assert goes(model, tmp_path) == 8
    assert tree(tmp_path) == {"bigger-00001-of-00002.gguf", "big-00001-of-00003.gguf"}


def test_a_model_that_is_a_link_goes_as_one(tmp_path: Path) -> None:
    target = checkpoint(tmp_path / "elsewhere/Model")
    (tmp_path / "added").mkdir()
    (tmp_path / "added/linked").symlink_to(target)
    model = only(installed([tmp_path / "added"]))
    assert "what it leads to stays" in removal(model).sentence
    assert goes(model, tmp_path) == 0
    assert (target / "model.safetensors").read_bytes() == WEIGHTS and tree(tmp_path / "added") == set()


def test_what_has_another_name_frees_nothing(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "added/Model")
    (tmp_path / "kept").hardlink_to(folder / "model.safetensors")
    config = (folder / "config.json").stat().st_size
    assert goes(only(installed([tmp_path / "added"])), tmp_path) == config
    assert (tmp_path / "kept").read_bytes() == WEIGHTS


def test_rows_that_are_no_models_have_nothing_to_delete(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/letter.txt").write_text("dear")
    said = refusal(only(installed([tmp_path / "bare"])))
    assert said == "There is nothing of bare to delete: its folder holds no model."
    said = refusal(only(installed([tmp_path / "away"])))
    assert said == "There is nothing of away to delete: it is no longer there."


def test_conversions_of_a_gguf_file_go_with_it(tmp_path: Path, places: Paths) -> None:
    one, other = write_gguf(tmp_path / "added/one.gguf"), write_gguf(tmp_path / "added/other.gguf")
    kept = convert(other, places.conversions, lambda done, total: None)
    convert(one, places.conversions, lambda done, total: None)
    convert(one, places.conversions, lambda done, total: None, bits=8)
    os.utime(one, (1, 1))
    convert(one, places.conversions, lambda done, total: None, bits=4)
    size = one.stat().st_size
    assert goes(find("one", [tmp_path / "added"]), tmp_path) > size
    assert [path for path in places.conversions.iterdir() if path.name != ".lock"] == [kept] and other.exists()


def test_what_the_disk_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = checkpoint(tmp_path / "added/Model")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the way there from the root is closed to strangers
    model = only(installed([Path("added")]))
    folder.chmod(0o555)
    request.getfixturevalue("stranger")
    with pytest.raises(QuietlyError, match=r"Model is not wholly deleted, .* cannot be removed \(Permission denied\)"):
        remove(model)


# --- the starter ----------------------------------------------------------------------------------


def test_the_starter_goes_as_the_package_it_is(tmp_path: Path, places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(tmp_path / "site-packages/starter.gguf")
    monkeypatch.setattr(starter, "starter_file", lambda: file if file.exists() else None)
    converted = convert(file, places.conversions, lambda done, total: None)
    assert "quietly models get starter" in removal(find("starter")).sentence
    uninstall = [sys.executable, "-c", "import sys, pathlib; pathlib.Path(sys.argv[1]).unlink()", str(file)]
    monkeypatch.setattr(starter, "uninstall_command", lambda: uninstall)
    goes(find("starter"), tmp_path)
    assert not converted.exists() and all(model.source != "starter" for model in installed())


def test_a_starter_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, words in (
        ("print('Not uninstalling it, outside environment')", "the installer said: Not uninstalling it"),
        ("print('[Errno 13] Permission denied'); raise SystemExit(1)", "may not be written"),
    ):
        monkeypatch.setattr(starter, "uninstall_command", lambda code=code: [sys.executable, "-c", code])
        with pytest.raises(QuietlyError, match="The starter was not removed") as caught:
            remove(find("starter"))
        assert words in str(caught.value)
    assert find("starter").problem is None


def test_the_real_installer_understands_what_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "PACKAGE", "no-such-package-is-installed")
    starter.uninstall_starter()


# --- whatever lies there --------------------------------------------------------------------------

ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["README.md", "x.json", "letters", "a.gguf", "tokenizer.json", ".cache", "._a", "model.txt"]),
        st.sampled_from(["file", "folder", "link out", "link up", "hard link", "dangling"]),
    ),
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=ENTRIES, place=st.sampled_from(["added", "home/data/models", "home/.lmstudio/models/someone"]))
def test_nothing_outside_the_model_goes_whatever_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: list[tuple[str, str]], place: str
) -> None:
    root = tmp_path / f"{time.monotonic_ns()}"
    monkeypatch.setenv("QUIETLY_HOME", str(root / "home"))
    monkeypatch.setenv("HOME", str(root / "home"))
    folder = checkpoint(root / place / "Model")
    outside = checkpoint(root / "outside")
    (outside / "letter").write_text("dear")
    for name, kind in entries:
        entry = folder / name
        match kind:
            case "file":
                entry.write_bytes(b"mine")
            case "folder":
                entry.mkdir()
                (entry / "letter").symlink_to(outside / "letter")
                (entry / "all").symlink_to(outside)
            case "link out":
                entry.symlink_to(outside)
            case "link up":
                entry.symlink_to(folder.parent)
            case "hard link":
                entry.hardlink_to(outside / "letter")
            case _:
                entry.symlink_to(root / "nowhere")
    before = {path: path.read_bytes() for path in outside.iterdir()}
    model = next(model for model in installed([root / "added"]) if model.path == folder)
    goes(model, root)
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    assert not (folder / "model.safetensors").exists() and (root / place.partition("/someone")[0]).is_dir()
    if place.endswith("models"):
        assert not folder.exists()
    else:
        assert all((folder / name).exists() for name, kind in entries if name == "letters" and kind == "file")
