"""The header of a GGUF file: numbers as they were written, vocabularies only for those who ask, and files by how they
begin."""

import os
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.weights.gguf_header import Header, is_gguf, read
from model.weights.gguf_shape import converted_bytes, fields_of, weights
from tests.model.gguf_files import ROWS, TOKENS, write_gguf


@given(st.floats(width=32, allow_nan=False) | st.floats(allow_nan=False) | st.integers(0, 2**64 - 1))
def test_a_number_is_the_shortest_that_single_precision_keeps(value: float) -> None:
    with np.errstate(over="ignore"):
        wanted = float(str(np.float32(value)))
    assert Header(Path(), {"a": value}, [], 0).number("a") == wanted


def test_the_vocabulary_is_skipped_where_nobody_asks(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    whole, bare = read(path), read(path, vocabulary=False)
    assert whole.items("tokenizer.ggml.tokens", str) == TOKENS and bare.items("tokenizer.ggml.tokens", str) == []
    assert (bare.tensors, bare.start) == (whole.tensors, whole.start)
    assert fields_of(bare) == fields_of(whole) and fields_of(bare)["vocab_size"] == ROWS
    assert converted_bytes(bare) > sum(int(np.prod(tensor.shape)) for tensor in weights(bare)) // 2


def test_a_file_is_known_by_how_it_begins(tmp_path: Path) -> None:
    assert is_gguf(write_gguf(tmp_path / "sha256-0123"))
    (tmp_path / "text.gguf").write_text("GGU")
    os.mkfifo(tmp_path / "pipe")
    for name in ("text.gguf", "pipe", "nowhere", ".", "a\0b"):
        assert not is_gguf(tmp_path / name)
