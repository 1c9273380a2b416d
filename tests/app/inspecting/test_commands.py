"""`quietly inspect` and `quietly tokens`, for people and for programs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from app.errors import QuietlyError


@pytest.fixture
def bare(speaking: Path, tmp_path: Path) -> Path:
    """A tokenizer without a model."""
    shutil.copy(speaking / "tokenizer.json", tmp_path)
    return tmp_path / "tokenizer.json"


def test_a_process_prints_what_a_config_tells(config):
    command = [sys.executable, "-P", "-m", "app", "models", "inspect", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["parameters"] == 7_612_620_288


def test_both_names_print_the_same_and_a_text_is_counted(quietly, speaking):
    told = quietly("inspect", speaking, "--text", "hello", "--context", 100).stdout
    assert told == quietly("models", "inspect", speaking, "--text", "hello", "--context", 100).stdout
    for wanted in ("5 tokens in 5 characters: 1.00 a character", "100 tokens", "<|im_start|>{{ message.role }}"):
        assert wanted in told
    as_json = json.loads(quietly("inspect", speaking, "--text", "hello", "--json").stdout)
    assert as_json["tokenizer"]["text"]["tokens"] == 5


def test_a_hostile_name_and_markup_are_only_letters(quietly, config, tmp_path):
    folder = tmp_path / "evil\x1b[31m[bold]"
    config.parent.rename(folder)
    told = quietly("inspect", folder / "config.json").stdout
    assert "\x1b" not in told and "[bold]" in told


def test_tokens_have_ids_bytes_and_norms(quietly, speaking):
    told = json.loads(quietly("tokens", "hé", "-m", speaking, "--near", 2, "--words", "a,b,c", "--json").stdout)
    stored = np.array(mx.load(str(speaking / "model.safetensors"))["model.embed_tokens.weight"])
    assert [token["bytes"] for token in told["tokens"]] == ["68", "c3", "a9"]
    norms = [np.linalg.norm(stored[token["id"]]) for token in told["tokens"]]
    assert [token["norm"] for token in told["tokens"]] == pytest.approx(norms, rel=1e-5)
    assert told["matrix"] == {"rows": 258, "width": 32, "stored": "float32", "bytes": stored.nbytes}
    near = told["near"]
    assert near["bytes"] == "c3" and len(near["nearest"]) == 10
    assert near["one_hot"] == {
        "largest_difference": 0,
        "vector_bytes": 258 * 4,
        "matrix_bytes": stored.nbytes,
        "row_bytes": 32 * 4,
    }
    assert {(pair["first"], pair["second"]) for pair in told["cosines"]} == {("a", "b"), ("a", "c"), ("b", "c")}


def test_people_see_them_in_tables(quietly, speaking):
    told = quietly("tokens", "hé\n", "-m", speaking, "--near", 1, "--words", "a, b").stdout
    for wanted in (
        "4 tokens in 3 characters: 1.33 a character",
        "‹C3›",
        "↵",
        "The embedding matrix has 258 rows of 32 numbers",
        "nearest rows",
        "A one-hot vector times the matrix is the row that is looked up.",
        "word  word  cosine",
    ):
        assert wanted in told, wanted


def test_without_weights_there_are_tokens_and_bytes_and_a_word_about_the_rest(quietly, bare):
    done = quietly("tokens", "hé", "-m", bare)
    assert "3 tokens in 2 characters" in done.stdout and "c3" in done.stdout and "norm" not in done.stdout
    assert "There are no weights in" in done.stderr
    told = json.loads(quietly("tokens", "hé", "-m", bare, "--json").stdout)
    assert told["matrix"] is None and told["tokens"][0] == {"id": 71, "text": "h", "bytes": "68", "norm": None}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--near", "1"), "There are no weights in"),
        (("--words", "a,b"), "There are no weights in"),
        (("--near", "4"), "The text has 3 tokens, so there is no token 4"),
    ],
)
def test_what_needs_what_is_not_there_is_one_sentence(quietly, bare, asked, says):
    with pytest.raises(QuietlyError, match=says):
        quietly("tokens", "hé", "-m", bare, *asked)


def test_without_any_model_one_is_asked_for(quietly, monkeypatch):
    monkeypatch.setattr("app.library.local.installed", lambda folders: [])
    with pytest.raises(QuietlyError, match="name one with --model"):
        quietly("tokens", "hello")
