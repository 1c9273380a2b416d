"""Checkpoints in, text out: language models in MLX, as a library that knows nothing of any app.

Importing it loads no MLX; the first use of a name does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.cache import KVQuantisation
    from model.checkpoint import load
    from model.errors import ModelError
    from model.language_model import LanguageModel
    from model.sampling import Sampling
    from model.saving import load_session
    from model.session import Session
    from model.weights.quantise import quantise

__all__ = ["KVQuantisation", "LanguageModel", "ModelError", "Sampling", "Session", "load", "load_session", "quantise"]

_HOMES = {
    "load": "model.checkpoint",
    "load_session": "model.saving",
    "quantise": "model.weights.quantise",
    "KVQuantisation": "model.cache",
    "LanguageModel": "model.language_model",
    "ModelError": "model.errors",
    "Sampling": "model.sampling",
    "Session": "model.session",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
