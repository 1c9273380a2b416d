"""model_type -> architecture: ours first, mlx-lm's for all the others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model import pangu_pi, qwen2, rwkv4, rwkv7
from model.cache import CacheOptions, ForeignCache, FullCache, RotatingCache
from model.choices import Choices
from model.errors import ModelError

OURS: Mapping[str, Callable[[Any], nn.Module]] = MappingProxyType(
    {
        "qwen2": qwen2.Model,
        "qwen3": qwen2.Model,
        "llama": qwen2.Model,
        "mistral": qwen2.Model,
        "PanguEmbedded": qwen2.Model,
        "pangu_pi": pangu_pi.Model,
        "rwkv": rwkv4.Model,
        "rwkv7": rwkv7.Model,
    }
)
"""The architectures of this library, by the `model_type` that a checkpoint names. Each takes its own `Config`."""


class MlxLmNetwork(nn.Module):
    """An architecture of mlx-lm behind our interface: its own module, our caches where it takes them."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module = module
        self._name = name
        self._takes_ours: bool | None = None

    def __call__(self, tokens: mx.array, caches: Sequence[Any] | None = None, last: int | None = None) -> mx.array:
        inner = [cache.inner if isinstance(cache, ForeignCache) else cache for cache in caches] if caches else None
        logits: mx.array = self.module(tokens, cache=inner)
        return logits if last is None else logits[:, -last:]

    def arrange(self, choices: Choices) -> None:
        """Its module computes as mlx-lm wrote it, whatever was chosen."""

    def make_cache(self, options: CacheOptions) -> list[Any]:
        """Ours in place of mlx-lm's plain and rotating ones: they trim exactly and take snapshots."""
        if options != CacheOptions():
            raise ModelError(
                f"{self._name} runs in mlx-lm's implementation, which has no quantised or rolling cache here; "
                "turn these options off for it.",
                "request",
            )
        if self._takes_ours is None:
            self._takes_ours = self._same_with_ours()
        theirs = self._their_caches()
        return [_stand_in(cache) for cache in theirs] if self._takes_ours else [ForeignCache(c) for c in theirs]

    def _their_caches(self) -> list[Any]:
        from mlx_lm.models.cache import make_prompt_cache

        caches: list[Any] = make_prompt_cache(self.module)
        return caches

    def _same_with_ours(self) -> bool:
        """Whether a few tokens give the same logits over our caches: some modules look inside their own."""
        tokens = mx.array([[0, 1, 2, 1]])
        results: list[mx.array] = []
        for caches in (self._their_caches(), [_stand_in(cache) for cache in self._their_caches()]):
            try:
                self(tokens[:, :3], caches)
                results.append(self(tokens[:, 3:], caches))
                mx.eval(results[-1])
            except Exception:
                return False
        theirs, ours = results
        return bool(mx.allclose(theirs, ours, rtol=1e-2, atol=1e-2).item())


def _stand_in(cache: Any) -> Any:
    """Our cache for one of mlx-lm's that means the same; what we have none for is wrapped."""
    from mlx_lm.models.cache import KVCache, RotatingKVCache

    if type(cache) is KVCache:
        return FullCache()
    if type(cache) is RotatingKVCache and cache.keep == 0:
        return RotatingCache(cache.max_size, CacheOptions().slack)
    return ForeignCache(cache)


def mlx_lm_network(folder: Path, model_type: str) -> MlxLmNetwork:
    """The checkpoint in mlx-lm's implementation, its weights still unread.

    mlx-lm is imported here and nowhere on the way of our own architectures: it takes a second, and transformers with
    it. It runs no code from the checkpoint (`trust_remote_code` stays off). ModelError where it has no such
    architecture, or the weights do not fit its module.
    """
    from mlx_lm.utils import load_model

    try:
        module, _ = load_model(folder, lazy=True, trust_remote_code=False)
    except Exception as error:  # a foreign loader may raise anything at all over a foreign file
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if "not supported" in reason:
            raise ModelError(
                f"{folder.name}: neither Quietly nor mlx-lm runs {model_type!r} models; choose another one.",
                "unsupported",
            ) from None
        raise ModelError(
            f"{folder.name}: mlx-lm cannot open it ({reason}); download it again or choose another model."
        ) from error
    return MlxLmNetwork(module, folder.name)
