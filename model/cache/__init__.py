"""KV caches, one a layer: what attention has seen, kept so that it is not computed again.

They keep mlx-lm's method names, so that ours can stand in for theirs. Positions are absolute and count from 0.
"""

from model.cache.full import FullCache
from model.cache.layer import CacheOptions, ForeignCache, LayerCache, Snapshot, rewind
from model.cache.rotating import RotatingCache
from model.cache.rows import KVQuantisation

__all__ = [
    "CacheOptions",
    "ForeignCache",
    "FullCache",
    "KVQuantisation",
    "LayerCache",
    "RotatingCache",
    "Snapshot",
    "rewind",
]
