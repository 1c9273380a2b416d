"""A loaded model's embedding matrix: what stands in the rows that tokens are looked up in.

Rows are looked at as float32, a stretch at a time, so that a packed matrix is never unpacked whole. It knows the matrix
by its kind and its size, and no architecture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model.errors import ModelError
from model.network import Network

_STRETCH = 1 << 22
"""Numbers that are unpacked at once: 16 MiB as float32."""
_NAMES = ("embed_tokens", "wte", "tok_embeddings", "word_embeddings", "embeddings", "embedding")
"""What architectures call the matrix, as the last part of a module's path; the likeliest first."""


@dataclass(frozen=True)
class OneHot:
    """A one-hot vector times the matrix, beside looking the row up. Bytes; numbers are float32 in the product."""

    difference: float
    """The largest between a number of the product and the same number of the row."""
    vector: int
    matrix: int
    row: int
    """As it is held: the only part of the matrix that looking up reads."""


class Embeddings:
    """The matrix of one network, (rows, width). `rows` may be more than there are tokens: the others are padding."""

    def __init__(self, network: Network, name: str, vocabulary: int) -> None:
        """`name` is what errors call the model, `vocabulary` how many rows are tokens.

        ModelError("unsupported") where the network has no such matrix, or more than one that could be it.
        """
        self._matrix = _found(network, name, vocabulary)
        self._vocabulary = vocabulary
        self.rows, self.width = _shape(self._matrix)
        self.stored = _stored(self._matrix)
        """How it is held, in words: "float32", "4 bit in groups of 64"."""
        self.nbytes = sum(self._matrix[part].nbytes for part in ("weight", "scales", "biases") if part in self._matrix)

    def vectors(self, ids: Sequence[int]) -> mx.array:
        """The rows of these tokens: float32, (len(ids), width)."""
        return self._rows(mx.array(list(ids), dtype=mx.int32)) if ids else mx.zeros((0, self.width))

    def norms(self, ids: Sequence[int]) -> list[float]:
        """The Euclidean length of each of these rows."""
        return _numbers(_norms(self.vectors(ids)))

    def cosines(self, words: Sequence[Sequence[int]]) -> list[list[float]]:
        """The cosine of every two words, each the mean of its tokens' rows; 0 with one that has no direction."""
        means = mx.stack([self.vectors(word).mean(axis=0) for word in words])
        directions = _directions(means)
        return [_numbers(row) for row in directions @ directions.T]

    def nearest(self, id: int, most: int) -> list[tuple[int, float]]:
        """The tokens whose rows point most nearly the way this one's does, the nearest first, with their cosines."""
        wanted = _directions(self.vectors([id]))[0]
        cosines = (self._of_all(lambda rows: wanted @ rows.T) / self._lengths)[: self._vocabulary]
        cosines[id] = -2  # itself; no cosine is less than -1
        order = mx.argsort(-cosines)[: min(most, self._vocabulary - 1)]
        nearest = zip(_numbers(order), _numbers(cosines[order]), strict=True)
        return [(int(token), cosine) for token, cosine in nearest]

    def one_hot(self, id: int) -> OneHot:
        """Multiply a vector of zeros, with a one at `id`, by the whole matrix."""
        vector = mx.zeros(self.rows)
        vector[id] = 1
        product, at = mx.zeros(self.width), 0
        for part in self._parts():
            product = product + vector[at : at + len(part)] @ part
            mx.eval(product)
            at += len(part)
        differences = _numbers(mx.abs(product - self.vectors([id])[0]))
        return OneHot(
            difference=max(differences),
            vector=vector.nbytes,
            matrix=self.rows * self.width * product.itemsize,
            row=self.nbytes // self.rows,
        )

    @cached_property
    def _lengths(self) -> mx.array:
        """Of every row: who looks at one neighbourhood looks at others."""
        return self._of_all(_lengths)

    def _of_all(self, number: Callable[[mx.array], mx.array]) -> mx.array:
        """A number for each row, (rows,)."""
        numbers = []
        for part in self._parts():
            numbers.append(number(part))
            mx.eval(numbers[-1])  # or it would hold on to the rows
        return mx.concatenate(numbers)

    def _rows(self, ids: mx.array) -> mx.array:
        rows: mx.array = self._matrix(ids)
        return rows.astype(mx.float32)

    def _parts(self) -> Iterator[mx.array]:
        step = max(1, _STRETCH // self.width)
        for first in range(0, self.rows, step):
            part = self._rows(mx.arange(first, min(first + step, self.rows)))
            mx.eval(part)
            yield part


def _found(network: Network, name: str, vocabulary: int) -> nn.Module:
    modules: list[tuple[str, nn.Module]] = network.named_modules() if isinstance(network, nn.Module) else []
    matrices = {
        path: module
        for path, module in modules
        if isinstance(module, nn.Embedding | nn.QuantizedEmbedding) and _shape(module)[0] >= vocabulary
    }
    for last in _NAMES:
        named = [module for path, module in matrices.items() if path.rpartition(".")[2] == last]
        if len(named) == 1:
            return named[0]
    if len(matrices) == 1:
        return next(iter(matrices.values()))
    raise ModelError(
        f"{name} keeps its embeddings in a way that is not known here, so its rows cannot be looked at; "
        "choose another model.",
        "unsupported",
    )


def _shape(matrix: nn.Module) -> tuple[int, int]:
    """Rows and columns as they are multiplied with, packed or not."""
    rows, columns = matrix["weight"].shape
    return rows, columns * 32 // matrix.bits if isinstance(matrix, nn.QuantizedEmbedding) else columns


def _stored(matrix: nn.Module) -> str:
    if isinstance(matrix, nn.QuantizedEmbedding):
        return f"{matrix.bits} bit in groups of {matrix.group_size}"
    return str(matrix["weight"].dtype).removeprefix("mlx.core.")


def _directions(rows: mx.array) -> mx.array:
    """Each row divided by its length; one of zeros stays as it is."""
    return rows / _lengths(rows)[:, None]


def _lengths(rows: mx.array) -> mx.array:
    """The length of each row; 1 for one of zeros, so that it may be divided by."""
    lengths = _norms(rows)
    return mx.where(lengths > 0, lengths, 1)


def _norms(rows: mx.array) -> mx.array:
    return mx.sqrt((rows * rows).sum(axis=-1))  # two and a half times as fast on the CPU as MLX's own


def _numbers(array: mx.array) -> list[float]:
    numbers: Any = array.tolist()
    return [float(number) for number in numbers]
