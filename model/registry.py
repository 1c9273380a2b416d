"""model_type -> architecture: ours first, mlx-lm's for all the others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from model import qwen2
from model.config import Config
from model.errors import ModelError

OURS: Mapping[str, Callable[[Config], nn.Module]] = MappingProxyType(
    {
        "qwen2": qwen2.Model,
        "qwen3": qwen2.Model,
        "llama": qwen2.Model,
        "mistral": qwen2.Model,
    }
)
"""The architectures of this library, by the `model_type` that a checkpoint names."""


class MlxLmNetwork(nn.Module):
    """An architecture of mlx-lm behind our interface: its own module, its own caches."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def __call__(self, tokens: mx.array, caches: Sequence[Any] | None = None, last: int | None = None) -> mx.array:
        logits: mx.array = self.module(tokens, cache=caches)
        return logits if last is None else logits[:, -last:]

    def make_cache(self) -> list[Any]:
        from mlx_lm.models.cache import make_prompt_cache

        caches: list[Any] = make_prompt_cache(self.module)
        return caches


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
    return MlxLmNetwork(module)
