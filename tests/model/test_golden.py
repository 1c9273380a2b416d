"""The reference's outputs, from a full pass and from every way of splitting it (tests/golden/README.md)."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

import model
from model import LanguageModel, Sampling
from tests.checkpoints import GOLDEN, golden_checkpoint

CASES = sorted(path.name for path in GOLDEN.iterdir() if path.name.startswith(("qwen", "pangu", "rwkv")))


@pytest.fixture(scope="module", params=CASES)
def golden(request, tmp_path_factory) -> tuple[LanguageModel, dict[str, np.ndarray]]:
    case = request.param
    folder = golden_checkpoint(case, tmp_path_factory.mktemp("golden") / case)
    expected = mx.load(str(GOLDEN / case / "expected.safetensors"))
    return model.load(folder), {name: np.array(array) for name, array in expected.items()}


def windows(language_model: LanguageModel) -> set[int]:
    return {window for window in getattr(language_model.network, "windows", ()) if window}


def test_logits_of_a_full_pass(golden):
    language_model, expected = golden
    logits = np.array(language_model.logits(mx.array(expected["input_ids"])))
    assert np.abs(logits - expected["logits"]).max() < 2e-4


def test_one_row_is_the_same_without_a_batch(golden):
    language_model, expected = golden
    logits = np.array(language_model.logits(mx.array(expected["input_ids"][0])))
    assert np.abs(logits - expected["logits"][0]).max() < 2e-4


def test_every_split_of_the_prompt_continues_the_same_way(golden):
    language_model, expected = golden
    prompt = expected["input_ids"][0].tolist()
    greedy = expected["greedy"].tolist()
    sizes = {1, 3, len(prompt)}
    sizes |= {window + change for window in windows(language_model) for change in (-1, 0, 1)} - {0}
    for size in sorted(sizes):
        session = language_model.session()
        for end in range(size, len(prompt) + size, size):
            logits = session.prefill(prompt[:end])
        assert np.abs(np.array(logits) - expected["logits"][0, -1]).max() < 2e-4, f"split by {size}"
        written = []
        for _ in greedy:
            token = mx.argmax(logits)
            written.append(int(token.item()))
            logits = session.step(token)
        assert written == greedy, f"split by {size}"
        assert np.abs(np.array(logits) - expected["last_logits"]).max() < 2e-4, f"split by {size}"


def test_the_chunks_of_one_prefill_change_nothing(golden):
    language_model, expected = golden
    prompt = expected["input_ids"][0].tolist()
    for chunk in (1, 5, 64):
        session = language_model.session()
        session.options = replace(session.options, chunk=chunk)
        logits = session.prefill(prompt)
        assert np.abs(np.array(logits) - expected["logits"][0, -1]).max() < 2e-4, f"chunks of {chunk}"


def test_generate_gives_the_greedy_continuation(golden):
    language_model, expected = golden
    greedy = expected["greedy"].tolist()
    tokens = language_model.generate(
        expected["input_ids"][0].tolist(), sampling=Sampling(temperature=0), max_tokens=len(greedy)
    )
    assert [token.id for token in tokens] == greedy


def test_padding_on_either_side_changes_no_row(golden):
    language_model, expected = golden
    prompt = expected["input_ids"][0].tolist()
    rows = [prompt, prompt[:11], prompt[:30]]
    length = len(prompt) + 3
    left = [[0] * (length - len(row)) + row for row in rows]
    right = [row + [0] * (length - len(row)) for row in rows]
    for padded, mask in (
        (left, [[0] * (length - len(row)) + [1] * len(row) for row in rows]),
        (right, [[1] * len(row) + [0] * (length - len(row)) for row in rows]),
    ):
        logits = np.array(language_model.logits(mx.array(padded), mx.array(mask)))
        for row, logits_of_row, real in zip(rows, logits, np.array(mask, bool), strict=True):
            alone = np.array(language_model.logits(mx.array(row)))
            assert np.abs(logits_of_row[real] - alone).max() < 1e-4
