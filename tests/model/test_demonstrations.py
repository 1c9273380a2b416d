"""The demonstrations' real weights behind the caches: far past every window, and over a long recurrent state."""

import mlx.core as mx
import numpy as np
import pytest

import model
from app.assets import asset
from model.language_model import LanguageModel
from model.session import SessionOptions
from tests.training.text import documents

LENGTH = 300
"""Tokens: more than four windows of the Qwen2 with windows."""


@pytest.fixture(scope="module", params=["demo-llama", "demo-pangu-pi", "demo-qwen2-windows", "demo-rwkv7"])
def loaded(request: pytest.FixtureRequest) -> LanguageModel:
    return model.load(asset(f"demonstration/{request.param}"))


@pytest.fixture(scope="module")
def read(loaded: LanguageModel) -> list[int]:
    """Something that it has learned of, in its tokens."""
    text = "\n\n".join(text for one in documents(1, 60) for text in one.texts())
    return loaded.tokenizer.encode(text)[:LENGTH]


@pytest.mark.parametrize("chunk", [7, 100])
def test_what_is_read_in_pieces_and_then_written_is_what_a_whole_pass_says(
    loaded: LanguageModel, read: list[int], chunk: int
) -> None:
    assert len(read) == LENGTH
    whole = np.array(loaded.logits(mx.array(read)))
    session = loaded.session_with(SessionOptions(2 * LENGTH, chunk=chunk))
    prompt = LENGTH - 20
    said = [session.prefill(read[:prompt]), *(session.step(mx.array(token)) for token in read[prompt:])]
    for row, logits in enumerate(said, prompt - 1):
        assert np.abs(np.array(logits.astype(mx.float32)) - whole[row]).max() < 1e-3 * np.ptp(whole[row])
