"""How much the hidden states of a text differ from each other, layer by layer: what feature collapse takes away.

Two measures of a layer's states H (tokens, hidden), each state a row: in how many directions they differ, which is the
number of principal components that most of their variance lies in (arXiv 2312.17276, figure 4), and how far they are
from being all the same, ||H - 1 m||_F with m their mean (arXiv 2106.15941, section 3). It knows no architecture: layers
are what a network keeps in a list of that name, and are watched while they compute.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from model.errors import ModelError
from model.network import Network

MOST = 0.8
"""The share of the variance that components are counted for."""
_LISTS = ("layers", "blocks", "h")
"""What architectures call the list of their layers."""

Progress = Callable[[int, int], None]
"""Called with layers done and layers in all."""


@dataclass(frozen=True)
class Diversity:
    """Of one layer's states."""

    dimension: int
    """How many principal components hold `MOST` of the variance."""
    limit: int
    """How many there are at all: as many as states but one, or as numbers of a state."""
    distance: float
    """||H - 1 m||_F."""
    share: float
    """The same as a share of ||H||_F, from 0 to 1: states grow from layer to layer, and the distance with them."""


def diversities(
    network: Network, tokens: Sequence[int], name: str, progress: Progress = lambda done, total: None
) -> list[Diversity]:
    """Each layer's, lowest first, after it has read `tokens`; that of the first token is left out.

    Many models attend to the first token where there is nothing to attend to, and give it a state hundreds of times as
    long as all others: with it there would be one direction only (arXiv 2402.17762). `name` is what errors call the
    model. ModelError("unsupported") where it does not show its layers, "request" for too few tokens.
    """
    if len(tokens) < 3:
        raise ModelError(f"{len(tokens)} tokens cannot differ in any way worth telling; give a longer text.", "request")
    layers = _layers(network, name)
    found: dict[int, Diversity] = {}

    def look(index: int, hidden: mx.array) -> None:
        if hidden.ndim != 3 or hidden.shape[:2] != (1, len(tokens)):
            raise _hidden(name)
        found[index] = diversity(hidden[0, 1:])
        progress(len(found), len(layers))

    with _watched(layers, look):
        network(mx.array([list(tokens)]))
    if len(found) != len(layers):
        raise _hidden(name)
    return [found[index] for index in range(len(layers))]


def diversity(states: mx.array) -> Diversity:
    """Of states (tokens, hidden), computed here and now."""
    states = states.astype(mx.float32)
    apart = states - states.mean(axis=0, keepdims=True)
    products = apart @ apart.T if apart.shape[0] <= apart.shape[1] else apart.T @ apart  # the smaller of both
    length = mx.sqrt(mx.square(states).sum())
    mx.eval(products, length)
    variances = np.maximum(np.linalg.eigvalsh(np.asarray(products, np.float64))[::-1], 0)
    total = float(variances.sum())
    limit = min(states.shape[0] - 1, states.shape[1])
    if not total:
        return Diversity(0, limit, 0.0, 0.0)
    held, distance = np.cumsum(variances) / total, total**0.5
    dimension = min(limit, int(np.searchsorted(held, MOST)) + 1)
    return Diversity(dimension, limit, distance, min(1.0, distance / float(np.asarray(length))))


# --- watching -------------------------------------------------------------------------------------------------------


class _Watched:
    """In place of a layer: it computes by that, and tells what comes out."""

    def __init__(self, layer: Any, tell: Callable[[mx.array], None]) -> None:
        self._layer = layer
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._told(self._layer(*arguments, **named))

    def finish(self, *arguments: Any) -> Any:
        """As layers end whose attention looks at caches in between (`model.qwen2.Block`)."""
        return self._told(self._layer.finish(*arguments))

    def _told(self, given: Any) -> Any:
        self._tell(given[0] if isinstance(given, tuple) else given)
        return given


@contextmanager
def _watched(layers: list[Any], look: Callable[[int, mx.array], None]) -> Iterator[None]:
    """While this lasts, `look` gets each layer's number and what it gives out."""
    originals = list(layers)

    def telling(index: int) -> Callable[[mx.array], None]:
        return lambda hidden: look(index, hidden)

    layers[:] = [_Watched(layer, telling(index)) for index, layer in enumerate(originals)]
    try:
        yield
    finally:
        layers[:] = originals


def _layers(network: Network, name: str) -> list[Any]:
    """The network's own list of its layers: the outermost of such a name."""
    waiting: list[Any] = [network]
    while waiting:
        module = waiting.pop(0)
        for key, value in module.items() if isinstance(module, nn.Module) else ():
            if key in _LISTS and isinstance(value, list) and value:
                return value
            waiting.append(value)
    raise _hidden(name)


def _hidden(name: str) -> ModelError:
    return ModelError(
        f"{name} does not show what its layers compute, in the way that is known here; choose another model.",
        "unsupported",
    )
