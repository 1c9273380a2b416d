"""Caches, one a layer: what it has seen, kept so that it is not computed again.

They keep mlx-lm's method names, so that ours can stand in for theirs. Positions are absolute and count from 0.
"""

from model.cache.full import FullCache
from model.cache.key_values import sides
from model.cache.layer import AttentionCache, CacheOptions, ForeignCache, LayerCache, Snapshot, rewind
from model.cache.recurrent import RecurrentCache
from model.cache.rotating import RotatingCache
from model.cache.rows import KVQuantisation

__all__ = [
    "AttentionCache",
    "CacheOptions",
    "ForeignCache",
    "FullCache",
    "KVQuantisation",
    "LayerCache",
    "RecurrentCache",
    "RotatingCache",
    "Snapshot",
    "rewind",
    "sides",
]
