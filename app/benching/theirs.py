"""mlx-lm over the same weights, measured as ours is: its own `generate_step`, our clock. For `measurer` alone.

Its own rate counts tokens and not the intervals between them, so it is not asked for it. Weights stay as they are
stored; only a CPU gets float32 for what is no packed weight, since it takes many times longer over anything else.
"""

import importlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from model.benchmark import Measured, prompt, weights_read
from model.weights.safetensors import shards

AT_ONCE = 2048
"""Tokens of a prompt that mlx-lm reads at once where nobody says otherwise."""


class TheirMeter:
    """Measures one model. What was read once is kept, as in `model.benchmark`."""

    def __init__(self, folder: Path, session_folder: Path) -> None:
        """`folder` holds the checkpoint. ModelError where its weights are not what MLX may read."""
        shards(folder)
        self._generate: Any = importlib.import_module("mlx_lm.generate")  # mlx_lm itself has a function of that name
        self._cache: Any = importlib.import_module("mlx_lm.models.cache")
        loaded = importlib.import_module("mlx_lm.utils").load_model(folder, trust_remote_code=False)
        self.module: Any = loaded[0]
        if mx.default_device().type == mx.DeviceType.cpu:
            self.module.set_dtype(mx.float32)
            mx.eval(self.module.parameters())
        fields = loaded[1].get("text_config", loaded[1])
        self.context = int(fields.get("max_position_embeddings", 4096))
        self._vocabulary = int(fields["vocab_size"])
        self._file = str(session_folder / "theirs.safetensors")
        self._wired = ExitStack()
        """Holds memory for as long as the process lives; mlx-lm does it for each answer."""
        self._wired.enter_context(self._generate.wired_limit(self.module, [self._generate.generation_stream]))
        self._saved: int | None = None
        self._held: dict[int, list[Any]] = {}
        """By how many tokens they hold, whatever has been written behind them."""

    def prefill(self, tokens: int) -> Measured:
        """As `model.benchmark.Meter.prefill`, and so the others."""
        return self._first_token(lambda: self._cache.make_prompt_cache(self.module), 0, tokens)

    def decode(self, depth: int, tokens: int) -> Measured:
        caches = self._holding(max(1, depth) - 1)
        mx.reset_peak_memory()
        moments = self._answer(caches, max(1, depth) - 1, max(1, depth), tokens + 1)
        weights, kept = weights_read(self.module), _nbytes(caches)
        return Measured(moments[-1] - moments[0], self._peak(caches), None if weights is None else weights + kept)

    def turn(self, held: int, new: int) -> Measured:
        caches = self._holding(held)
        return self._first_token(lambda: caches, held, held + new)

    def restore(self, held: int, new: int) -> Measured:
        if self._saved != held:
            self._cache.save_prompt_cache(self._file, self._holding(held))
            self._saved = held
        return self._first_token(lambda: self._cache.load_prompt_cache(self._file), held, held + new)

    def _first_token(self, opened: Callable[[], list[Any]], held: int, tokens: int) -> Measured:
        mx.reset_peak_memory()
        began = time.perf_counter()
        caches = opened()
        (moment,) = self._answer(caches, held, tokens, 1)
        return Measured(moment - began, self._peak(caches))

    def _answer(self, caches: list[Any], held: int, tokens: int, answer: int) -> list[float]:
        """When each token of an answer was there, behind a prompt of which the caches hold the first `held` tokens."""
        unread = mx.array(prompt(tokens, self._vocabulary)[held:])
        steps = self._generate.generate_step(unread, self.module, max_tokens=answer, prompt_cache=caches)
        moments = [time.perf_counter() for _ in steps]
        mx.synchronize(self._generate.generation_stream)  # it has one more token under way
        return moments

    def _holding(self, tokens: int) -> list[Any]:
        """Caches that hold so many tokens and nothing behind them: taken back to there, or read anew."""
        caches: list[Any] = self._held.get(tokens, [])
        if caches and self._cache.can_trim_prompt_cache(caches):
            self._cache.trim_prompt_cache(caches, caches[0].offset - tokens)
            return caches
        caches = self._cache.make_prompt_cache(self.module)
        self._held[tokens] = caches
        unread = prompt(tokens, self._vocabulary)
        for start in range(0, tokens, AT_ONCE):
            self.module(mx.array([unread[start : start + AT_ONCE]]), cache=caches)
            mx.eval([cache.state for cache in caches])
        return caches

    def _peak(self, used: list[Any]) -> int:
        return mx.get_peak_memory() - sum(_nbytes(caches) for caches in self._held.values() if caches is not used)


def _nbytes(caches: list[Any]) -> int:
    arrays: Any = tree_flatten([cache.state for cache in caches])
    return sum(int(array.nbytes) for _, array in arrays if isinstance(array, mx.array))
