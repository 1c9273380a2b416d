"""RWKV's .pth files among the models: found where they lie, described, removed with what was made of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.library.local import find, installed
from app.library.removing import remove
from app.quantising import place_for, refusal
from app.settings import Paths
from model.weights.pth_conversion import convert
from tests.checkpoints import golden_weights
from tests.model.pth_files import by_blinkdl, publish, write_pth


@pytest.fixture
def published(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return publish(tmp_path / "models" / "RWKV-4-Pile-0M-ctx256.pth")


def test_it_is_found_and_described(published: Path) -> None:
    (found,) = (model for model in installed([published.parent]) if model.source == "folder")
    assert (found.name, found.architecture, found.runs) == ("RWKV-4-Pile-0M-ctx256", "rwkv", "quietly")
    assert (found.problem, found.context, found.stored, found.bits) == (None, 256, "f32", 32.0)
    assert found.config is not None and found.weights == 4 * (found.parameters or 0)
    assert find("rwkv-4-pile", [published.parent]) == found
    assert find(str(published)).config == found.config
    assert refusal(found) == "" and place_for(found, 4).name == "RWKV-4-Pile-0M-ctx256-4bit"


def test_without_its_vocabulary_it_is_listed_with_what_to_add(published: Path) -> None:
    published.with_name("20B_tokenizer.json").rename(published.with_name("other.json"))
    assert "put 20B_tokenizer.json" in (find(str(published)).problem or "")
    published.with_name("other.json").rename(published.with_name("20B_tokenizer.json"))
    assert find(str(published)).problem is None


def test_others_are_let_lie_and_refused_where_they_are_named(tmp_path: Path) -> None:
    write_pth(tmp_path / "llama.pth", {"tok_embeddings.weight": np.zeros((2, 2), np.float32)})
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"state": 1}))
    assert not [model for model in installed([tmp_path]) if model.path.suffix == ".pth"]
    assert "holds no RWKV" in (find(str(tmp_path / "llama.pth")).problem or "")
    assert "since 1.6" in (find(str(tmp_path / "old.pth")).problem or "")


def test_the_same_weights_as_safetensors_are_a_model_without_a_configuration_too(tmp_path: Path) -> None:
    folder = tmp_path / "RWKV-4-Pile-0M-ctx256"
    folder.mkdir()
    weights = {by_blinkdl(name): array for name, array in golden_weights("rwkv4").items()}
    save_file(weights, folder / "model.safetensors")
    found = find(str(folder))
    assert (found.problem, found.architecture, found.context) == (None, "rwkv", 256)


def test_its_conversion_goes_with_it(published: Path, places: Paths) -> None:
    folder = convert(published, places.conversions, lambda done, total: None)
    size = published.stat().st_size
    assert remove(find("rwkv-4-pile", [published.parent])) > size
    assert not published.exists() and not folder.exists()
    assert published.with_name("20B_tokenizer.json").exists(), "other models may need it"
