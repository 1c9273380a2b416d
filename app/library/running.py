"""Whose implementation runs an architecture: ours, mlx-lm's, or none there is here.

mlx-lm is looked at as files: importing it would load MLX.
"""

import ast
import functools
import re
from pathlib import Path
from typing import Literal

from model.config import SHAPES

Runs = Literal["quietly", "mlx-lm"]


def runner(architecture: str) -> Runs | None:
    """Who runs the `model_type` that a config.json names; None where nobody here does."""
    if architecture in SHAPES:
        return "quietly"
    return "mlx-lm" if architecture in _renamed() or _has_module(architecture) else None


@functools.cache
def _has_module(architecture: str) -> bool:
    """Whether mlx-lm has a module of this name that is a model; caches and layers lie beside them."""
    if (package := _package()) is None or not re.fullmatch(r"[\w-]+", architecture, re.ASCII):
        return False
    try:
        return "class ModelArgs" in (package / "models" / f"{architecture}.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


@functools.cache
def _renamed() -> frozenset[str]:
    """The architectures that mlx-lm runs under another's name, read from its source as data."""
    if (package := _package()) is None:
        return frozenset()
    try:
        tree = ast.parse((package / "utils.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_REMAPPING":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def _package() -> Path | None:
    from importlib import util

    spec = util.find_spec("mlx_lm")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
