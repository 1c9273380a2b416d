"""The embedding matrix: rows looked up, measured and compared; a one-hot vector picks a row; packed or not."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model
from model import ModelError
from model.embeddings import Embeddings
from tests.checkpoints import random_checkpoint
from tests.model.test_fallback import CONFIGS, foreign_checkpoint

ROWS, WIDTH, TOKENS = 96, 64, 90
"""The last six rows are padding."""
PLANTED = {7: 3, 88: 3, 95: 3}
"""Rows that point the way another does; the last of them is padding."""


class Holder(nn.Module):
    """A network as far as its embeddings, behind a name that is not the only one."""

    def __init__(self, matrix: nn.Embedding | nn.QuantizedEmbedding) -> None:
        super().__init__()
        self.embed_tokens = matrix
        self.positions = nn.Embedding(ROWS, 4)


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    rows = np.random.RandomState(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    for row, like in PLANTED.items():
        rows[row] = 2 * rows[like]
    rows[50] = 0
    return rows


@pytest.fixture(scope="module", params=["float32", "4 bit", "8 bit"])
def both(request: pytest.FixtureRequest, numbers: np.ndarray) -> tuple[Embeddings, np.ndarray]:
    """The matrix as it is held, and its numbers unpacked whole."""
    matrix = nn.Embedding(ROWS, WIDTH)
    matrix.weight = mx.array(numbers)
    if request.param == "float32":
        return Embeddings(Holder(matrix), "tiny", TOKENS), numbers
    packed = matrix.to_quantized(group_size=32, bits=int(request.param[0]))
    whole = mx.dequantize(packed.weight, packed.scales, packed.biases, group_size=32, bits=packed.bits)
    return Embeddings(Holder(packed), "tiny", TOKENS), np.array(whole)


def test_it_says_what_it_is(both: tuple[Embeddings, np.ndarray]) -> None:
    embeddings, _ = both
    assert (embeddings.rows, embeddings.width) == (ROWS, WIDTH)
    sizes = {"float32": 4 * WIDTH, "4 bit in groups of 32": WIDTH // 2 + 16, "8 bit in groups of 32": WIDTH + 16}
    assert embeddings.nbytes == ROWS * sizes[embeddings.stored]


@given(ids=st.lists(st.integers(0, TOKENS - 1), max_size=5))
def test_rows_and_norms_are_the_matrixs(both: tuple[Embeddings, np.ndarray], ids: list[int]) -> None:
    embeddings, whole = both
    assert np.array_equal(np.array(embeddings.vectors(ids)), whole[ids].reshape(-1, WIDTH))
    assert embeddings.norms(ids) == pytest.approx(
        np.linalg.norm(whole[ids].reshape(-1, WIDTH), axis=-1).tolist(), rel=1e-5
    )


@given(id=st.integers(0, TOKENS - 1))
def test_a_one_hot_vector_times_the_matrix_is_the_row(both: tuple[Embeddings, np.ndarray], id: int) -> None:
    embeddings, _ = both
    product = embeddings.one_hot(id)
    assert product.difference == 0
    assert (product.vector, product.matrix) == (4 * ROWS, 4 * ROWS * WIDTH)
    assert product.row == embeddings.nbytes // ROWS


def test_rows_are_read_a_stretch_at_a_time(
    both: tuple[Embeddings, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings, _ = both
    at_once = embeddings.nearest(11, 5), embeddings.one_hot(93)
    monkeypatch.setattr("model.embeddings._STRETCH", 7 * WIDTH)
    assert embeddings.nearest(11, 5) == pytest.approx(at_once[0], abs=1e-6) and embeddings.one_hot(93) == at_once[1]


def test_neighbours_point_the_same_way_and_are_tokens(both: tuple[Embeddings, np.ndarray]) -> None:
    embeddings, whole = both
    found = embeddings.nearest(3, 5)
    directions = whole / np.maximum(np.linalg.norm(whole, axis=-1, keepdims=True), 1e-30)
    expected = {token: float(directions[token] @ directions[3]) for token in range(TOKENS) if token != 3}
    assert {token for token, _ in found[:2]} == {7, 88}
    assert [cosine for _, cosine in found] == pytest.approx(sorted(expected.values(), reverse=True)[:5], abs=1e-4)
    assert all(expected[token] == pytest.approx(cosine, abs=1e-4) for token, cosine in found)


def test_no_more_neighbours_are_found_than_there_are_tokens(both: tuple[Embeddings, np.ndarray]) -> None:
    embeddings, _ = both
    assert sorted(token for token, _ in embeddings.nearest(3, 1000)) == [id for id in range(TOKENS) if id != 3]


def test_a_word_of_several_tokens_is_the_mean_of_their_rows(both: tuple[Embeddings, np.ndarray]) -> None:
    embeddings, whole = both
    means = [whole[[1, 2]].mean(axis=0), whole[5], whole[50]]
    cosines = embeddings.cosines([[1, 2], [5], [50]])
    expected = means[0] @ means[1] / (np.linalg.norm(means[0]) * np.linalg.norm(means[1]))
    assert cosines[0][1] == cosines[1][0] == pytest.approx(expected, abs=1e-5)
    assert cosines[0][0] == pytest.approx(1)


def test_a_row_of_zeros_points_nowhere(numbers: np.ndarray) -> None:
    matrix = nn.Embedding(ROWS, WIDTH)
    matrix.weight = mx.array(numbers)
    embeddings = Embeddings(Holder(matrix), "tiny", TOKENS)
    assert embeddings.cosines([[5], [50]]) == [[pytest.approx(1), 0], [0, 0]]
    assert {cosine for _, cosine in embeddings.nearest(50, 5)} == {0}


def test_ours_has_it(tmp_path) -> None:
    loaded = model.load(random_checkpoint(tmp_path / "tiny"))
    stored = np.array(mx.load(str(tmp_path / "tiny" / "model.safetensors"))["model.embed_tokens.weight"])
    assert np.array_equal(np.array(loaded.embeddings.vectors(range(96))), stored)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_it_is_found_in_what_mlx_lm_implements(tmp_path, name: str) -> None:
    loaded = model.load(foreign_checkpoint(tmp_path / name, CONFIGS[name]))
    embeddings = loaded.embeddings
    assert (embeddings.rows, embeddings.width) == (96, 32)
    assert embeddings.one_hot(17).difference == 0


def test_where_it_cannot_be_told_from_others_there_is_a_sentence() -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Embedding(ROWS, 8), nn.Embedding(ROWS, 8)

    with pytest.raises(ModelError, match="Twin keeps its embeddings in a way that is not known here"):
        Embeddings(Twins(), "Twin", TOKENS)
