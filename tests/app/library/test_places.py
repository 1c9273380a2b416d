"""Where models are found: the Hub's cache, Quietly's own folder of today and before, LM Studio, Ollama, folders of a
person's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.library import disk
from app.library.local import hub_cache, installed
from app.library.places import folders
from tests.app.library.disks import (
    COMMIT,
    WEIGHTS,
    by_name,
    checkpoint,
    fetched,
    ollama_layer,
    ollama_model,
    only,
    safetensors,
    snapshot,
)
from tests.model.gguf_files import write_gguf

# --- the Hub's cache ------------------------------------------------------------------------------


@pytest.fixture
def cache(home: Path) -> Path:
    return home / "huggingface/hub"


def test_the_hub_s_cache_is_read_as_it_lies(cache: Path) -> None:
    path = snapshot(cache, "org/Model")
    model = only(installed())
    assert (model.name, model.repo, model.source, model.revision) == ("Model", "org/Model", "hub", COMMIT)
    assert model.path == path and model.problem is None
    assert model.size == sum(file.stat().st_size for file in path.iterdir())


def test_without_a_ref_the_newest_snapshot_counts(cache: Path) -> None:
    old = snapshot(cache, "org/Model", "old", ref=False)
    os.utime(old, (1, 1))
    repository = snapshot(cache, "org/Model", "new", ref=False).parents[1]
    assert only(installed()).path.name == "new" and only(installed()).revision is None
    (repository / "refs").mkdir()
    for ref in ("old", "../../../..", "gone", ".", "\udce9".encode("utf-8", "surrogateescape").decode("latin-1")):
        (repository / "refs/main").write_text(ref, encoding="latin-1")
        assert only(installed()).path.name == ("old" if ref == "old" else "new")


def test_a_cached_download_that_did_not_finish_says_so(cache: Path) -> None:
    path = snapshot(cache, "org/Model")
    (path.parents[1] / "blobs/other.incomplete").write_bytes(b"half")
    assert only(installed()).problem is None, "an unfinished file that nothing needs does no harm"
    (path / "model.safetensors").resolve().unlink()
    assert only(installed()).problem == "The download of Model has not finished: get it again."
    (path.parents[1] / "blobs/other.incomplete").unlink()
    assert only(installed()).problem == "Model: 1 of 1 weight files are missing; get the model again."
    (cache / "models--org--Empty/blobs").mkdir(parents=True)
    assert [model.name for model in installed() if model.problem] == ["Empty", "Model"]
    (cache / "datasets--org--Data").mkdir()
    assert len(installed()) == 3
    assert not any(model.unfinished for model in installed()), "only what Quietly fetches can be gone on with"


def test_gguf_files_in_the_cache_are_models_each(cache: Path, tmp_path: Path) -> None:
    content = write_gguf(tmp_path / "made.gguf").read_bytes()
    files = {"a-Q4_1.gguf": content, "config.json": b"{}", "more/b-Q4_1.gguf": content + b"\0"}
    path = snapshot(cache, "org/Model-GGUF", files=files)
    models = by_name(installed())
    assert {name: model.path for name, model in models.items()} == {
        "a-Q4_1": path / "a-Q4_1.gguf",
        "b-Q4_1": path / "more/b-Q4_1.gguf",
    }
    assert all((model.problem, model.repo) == (None, "org/Model-GGUF") for model in models.values())


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HF_HUB_CACHE": "$WHERE/e", "WHERE": "/w"}, "/w/e"),
        ({"HOME": "/f"}, "/f/.cache/huggingface/hub"),
        ({"HF_HOME": "~/g", "HOME": "/f"}, "/f/g/hub"),
    ],
)
def test_the_cache_is_where_the_hub_s_client_has_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(folder)
    code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert theirs.stdout.strip() == folder


# --- Quietly's own folder -------------------------------------------------------------------------


@pytest.fixture
def own(home: Path) -> Path:
    return home / "data/models"


def test_what_quietly_fetched_is_a_snapshot_with_its_commit(own: Path) -> None:
    path = fetched(own)
    model = only(installed())
    assert (model.name, model.repo, model.source) == ("Model", "org/Model", "quietly")
    assert (model.path, model.revision, model.problem, model.unfinished) == (path, COMMIT, None, None)


def test_half_a_download_tells_how_far_it_is(own: Path) -> None:
    folder = fetched(own, done={"config.json": 10_000, "model.safetensors": 33})
    model = only(installed())
    total = len(WEIGHTS) + json.loads((folder / ".quietly.json").read_bytes())["files"][0]["size"]
    assert model.unfinished == (total - len(WEIGHTS) + 33, total) and model.path == folder
    assert model.problem == "The download of Model has not finished: get it again to go on."
    (folder / ".quietly.json").write_text("{")
    assert only(installed()).unfinished == (total - len(WEIGHTS) + 33, 0), "a damaged note tells no total"


def test_a_fetched_file_that_was_cut_since_is_told(own: Path) -> None:
    path = fetched(own)
    config = path / "config.json"
    config.resolve().write_bytes(config.read_bytes() + b"\n")
    assert only(installed()).problem == "Model: config.json is not as long as it should be; get it again."
    config.resolve().unlink()
    assert "config.json is missing" in (only(installed()).problem or "")


def test_a_snapshot_that_is_being_made_is_none(own: Path) -> None:
    path = fetched(own)
    path.rename(path.with_name(f".{path.name}"))
    assert "has not finished" in (only(installed()).problem or "")


def test_folders_of_the_earlier_layout_are_still_read(own: Path) -> None:
    folder = checkpoint(own / "someone--Qwen2.5-0.5B-4bit")
    (folder / ".quietly.json").write_text(json.dumps({"repo": "someone/Qwen2.5-0.5B-4bit", "revision": COMMIT}))
    model = only(installed())
    assert (model.name, model.repo, model.revision) == ("Qwen2.5-0.5B-4bit", "someone/Qwen2.5-0.5B-4bit", COMMIT)
    folder.rename(own / "someone--Qwen2.5-0.5B-4bit.part")
    model = only(installed())
    assert model.problem == "The download of Qwen2.5-0.5B-4bit has not finished: get it again to go on."
    assert model.unfinished == (model.size, 0) and model.size > len(WEIGHTS)


def test_what_was_quantised_here_has_a_name_and_no_repository(own: Path) -> None:
    checkpoint(own / "Model-4bit")
    checkpoint(own / ".Model-8bit.unfinished")
    (own / ".locks").mkdir()
    model = only(installed())
    assert (model.name, model.repo, model.source, model.problem) == ("Model-4bit", None, "quietly", None)


def test_a_gguf_file_put_into_quietly_s_folder_is_found(own: Path) -> None:
    file = write_gguf(own / "mine.gguf")
    assert (only(installed()).path, only(installed()).source) == (file, "quietly")


# --- LM Studio ------------------------------------------------------------------------------------


@pytest.mark.parametrize("studio", [".lmstudio", ".cache/lm-studio"])
def test_lm_studio_s_models_are_found_in_both_its_homes(home: Path, studio: str) -> None:
    models = home / studio / "models"
    folder = checkpoint(models / "mlx-community/Qwen2.5-0.5B-4bit")
    file = write_gguf(models / "bartowski/Tiny-GGUF/Tiny-Q4_1.gguf")
    found = by_name(installed())
    assert {name: (model.source, model.repo, model.path, model.problem) for name, model in found.items()} == {
        "Qwen2.5-0.5B-4bit": ("lm-studio", "mlx-community/Qwen2.5-0.5B-4bit", folder, None),
        "Tiny-Q4_1": ("lm-studio", "bartowski/Tiny-GGUF", file, None),
    }


def test_lm_studio_is_followed_to_the_folder_it_is_set_to(home: Path, tmp_path: Path) -> None:
    settings = home / ".lmstudio/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"downloadsFolder": str(tmp_path / "drive/models")}))
    assert "which cannot be looked into: plug in the disk" in (only(installed()).problem or "")
    folder = checkpoint(tmp_path / "drive/models/someone/One")
    assert only(installed()).path == folder
    (tmp_path / "moved").mkdir()
    settings.rename(tmp_path / "moved/settings.json")
    assert len(installed()) == 1
    (home / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    assert only(installed()).path == folder


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"[" * 10_000, b'{"downloadsFolder": 3}', b'{"downloadsFolder": "a\\u0000b"}', b'{"a": "\xd1"}'],
)
def test_settings_of_lm_studio_that_make_no_sense_are_passed_over(home: Path, content: bytes) -> None:
    folder = checkpoint(home / ".lmstudio/models/someone/One")
    (home / ".lmstudio/settings.json").write_bytes(content)
    (home / ".lmstudio-home-pointer").write_text("\0~nobody-at-all/x")
    assert only(installed()).path == folder


def test_what_lm_studio_is_still_fetching_says_so(home: Path) -> None:
    folder = home / ".lmstudio/models/someone/Tiny-GGUF"
    whole = write_gguf(folder / "Tiny-Q8_0.gguf")
    (folder / "downloading_Tiny-Q4_1.gguf.part").write_bytes(b"GGUF")
    (folder / "downloading_Tiny-Q8_0.gguf.part").write_bytes(b"GGUF")
    mlx = checkpoint(folder.parent / "Tiny-MLX", weights=b"")
    (mlx / "downloading_model.safetensors.part").write_bytes(b"half")
    models = by_name(installed())
    assert set(models) == {"Tiny-Q4_1", "Tiny-Q8_0", "Tiny-MLX"} and models["Tiny-Q8_0"].path == whole
    for name in ("Tiny-Q4_1", "Tiny-MLX"):
        said = f"The download of {name} has not finished: let the program that fetches it go on."
        assert models[name].problem == said


def test_links_into_lm_studio_s_folder_are_followed_once(home: Path, tmp_path: Path) -> None:
    elsewhere = checkpoint(tmp_path / "elsewhere/Mine")
    models = home / ".lmstudio/models"
    (models / "me").mkdir(parents=True)
    (models / "me/Linked").symlink_to(elsewhere)
    (models / "me/Again").symlink_to(elsewhere)
    (models / "me/loop").symlink_to(models)
    assert only(installed()).path == models / "me/Again"


# --- Ollama ---------------------------------------------------------------------------------------

LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def ollama(home: Path) -> Path:
    return home / ".ollama/models"


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """Of a GGUF file."""
    return write_gguf(tmp_path / "made.gguf").read_bytes()


def test_ollama_s_models_have_its_names_and_licences(ollama: Path, weights: bytes) -> None:
    model = ollama_layer(ollama, "model", weights)
    licence = ollama_layer(ollama, "license", b"\n   LLAMA 3.2 COMMUNITY   LICENSE AGREEMENT\nand so on")
    ollama_model(ollama, f"{LIBRARY}/llama3.2/1b", model, licence)
    ollama_model(ollama, f"{LIBRARY}/llama3.2/latest", model, licence)
    ollama_model(ollama, "registry.ollama.ai/someone/theirs/7b", ollama_layer(ollama, "model", weights + b"\0"))
    ollama_model(ollama, "hf.co/org/Model-GGUF/Q4_K_M", ollama_layer(ollama, "model", weights + b"\0\0"))
    models = by_name(installed())
    assert set(models) == {"llama3.2:1b", "someone/theirs:7b", "hf.co/org/Model-GGUF:Q4_K_M"}, "one blob is listed once"
    found = models["llama3.2:1b"]
    assert (found.source, found.problem, found.runs, found.architecture) == ("ollama", None, "quietly", "llama")
    assert found.licence == "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT" and found.context == 512
    assert found.path.name.startswith("sha256-") and found.size > len(weights)


def test_ollama_s_folder_may_be_elsewhere_or_added_by_hand(
    tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "drive/ollama"
    ollama_model(models, f"{LIBRARY}/tiny/1b", ollama_layer(models, "model", weights))
    assert only(installed([models])).source == "ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(models))
    assert only(installed()).name == "tiny:1b"


def test_the_blobs_of_ollama_s_first_versions_are_found(ollama: Path, weights: bytes) -> None:
    layer = ollama_layer(ollama, "model", weights)
    blob = ollama / "blobs" / str(layer["digest"])
    blob.with_name(blob.name.replace(":", "-")).rename(blob)
    ollama_model(ollama, f"{LIBRARY}/tiny/1b", layer)
    assert only(installed()).path == blob and only(installed()).problem is None


def test_what_only_ollama_can_run_says_so(ollama: Path, weights: bytes) -> None:
    model = ollama_layer(ollama, "model", weights)
    cut = ollama_layer(ollama, "model", weights + b"\0")
    (ollama / "blobs" / str(cut["digest"]).replace(":", "-")).write_bytes(weights)
    gone = {**model, "digest": f"sha256:{'f' * 64}"}
    for name, layers in {
        "adapted": [model, ollama_layer(ollama, "adapter", b"lora")],
        "split": [model, ollama_layer(ollama, "model", b"more")],
        "mlx": [ollama_layer(ollama, "tensor", b"tensor")],
        "cloud": [],
        "cut": [cut],
        "gone": [gone],
        "odd": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x", "size": 4}],
    }.items():
        ollama_model(ollama, f"{LIBRARY}/{name}/1b", *layers)
    ollama_model(ollama, f"{LIBRARY}/damaged/1b").write_text('{"layers": [3]}')
    ollama_model(ollama, f"{LIBRARY}/garbled/1b").write_bytes(b'{"layers": [{"digest": "\xd1"}]}')
    os.mkfifo(ollama / "manifests" / LIBRARY / "damaged/pipe")
    (ollama / "manifests" / LIBRARY / "loop").symlink_to(ollama / "manifests")
    problems = {name.partition(":")[0]: model.problem or "" for name, model in by_name(installed()).items()}
    for name, words in {
        "adapted": "adapter, which only Ollama applies",
        "split": "in 2 parts",
        "mlx": "form that only Ollama opens",
        "cloud": "no weights on this machine",
        "cut": "not wholly here: `ollama pull`",
        "gone": "not wholly here: `ollama pull`",
        "odd": "no weights on this machine",
        "damaged": "its manifest is damaged",
        "garbled": "its manifest is damaged",
    }.items():
        assert words in problems[name], name


# --- folders added by hand ------------------------------------------------------------------------


def test_folders_added_by_hand_are_looked_through(tmp_path: Path) -> None:
    root = tmp_path / "models"
    checkpoint(root / "one")
    checkpoint(root / "publisher/two")
    checkpoint(root / "a/b/c/too-deep")
    checkpoint(root / ".hidden")
    write_gguf(root / "three.gguf")
    (root / "._three.gguf").write_bytes(b"macOS's note beside it")
    (root / "notes.txt").write_text("hello")
    names = [model.name for model in installed([root])]
    assert names == ["one", "starter", "three", "two"] or names == ["starter", "one", "three", "two"]
    assert only(installed([root / "one"])).path == root / "one"
    assert only(installed([root / "three.gguf"])).architecture == "llama"
    assert len(installed([root, root / "one", root])) == 4, "each is listed once"


def test_other_places_may_be_added_too(tmp_path: Path) -> None:
    path = snapshot(tmp_path / "drive/hub", "org/Model")
    for folder in (tmp_path / "drive/hub", path.parents[1], path):
        assert only(installed([folder])).path == path
    fetched(tmp_path / "drive/quietly", "org/Other")
    assert only(installed([tmp_path / "drive/quietly"])).repo == "org/Other"


def test_folders_that_are_gone_or_hold_no_model_say_so(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "away")
    (tmp_path / "notes.txt").write_text("hello")
    for name, words in {
        "away": "away is no longer there.",
        "away.gguf": "away.gguf is no longer there.",
        "dangling": "dangling is no longer there.",
        "bare": "bare holds no model: neither config.json nor a .gguf file.",
        "notes.txt": "notes.txt holds no model: neither config.json nor a .gguf file.",
    }.items():
        assert only(installed([tmp_path / name])).problem == words


def test_a_folder_that_may_not_be_read_says_so(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    request.getfixturevalue("stranger")
    assert only(installed([tmp_path / "closed"])).problem == "closed may not be read: check whose it is."


def test_a_folder_that_holds_too_much_is_not_looked_through_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        checkpoint(tmp_path / "much" / name)
    for module, most, seen in ((folders, 3 + 2 + 1, {"a", "b"}), (disk, 3, {"a", "b", "c"})):
        with monkeypatch.context() as patch:
            patch.setattr(module, "MOST_ENTRIES", most)
            found = by_name(installed([tmp_path / "much"]))
        assert set(found) == seen | {"much"}
        said = "much holds too much to look through: add the folders of its models instead."
        assert found["much"].problem == said


def test_weights_beside_gguf_files_are_models_each(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "both", weights=safetensors())
    write_gguf(folder / "both-Q4_1.gguf")
    assert set(by_name(installed([tmp_path]))) == {"both", "both-Q4_1"}
