"""What the engine asks of the system, and the limits it gives MLX. What concerns macOS is by Apple's and MLX's
documentation and was never measured on a Mac; on Linux of MLX's only the buffer cache's limit applies."""

import contextlib
import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from model.allocation import grown
from model.config import UNBOUNDED

_QOS_CLASS_USER_INITIATED = 0x19
"""<sys/qos.h>. Python's threads start at the default class, which a busy Mac moves to its slow cores."""

_OOM_SCORE = "500"
"""Of 1,000: as if half of all memory were taken besides what is."""
_HEADROOM = 512 * 1024 * 1024
_USUAL = 8192
"""Tokens of a conversation that memory is wired for."""


class MlxMemory(Protocol):
    """The part of `mlx.core` that is needed here."""

    def device_info(self) -> dict[str, Any]: ...
    def set_wired_limit(self, limit: int) -> int: ...
    def set_cache_limit(self, limit: int) -> int: ...


def raise_thread_priority(platform: str = sys.platform, library: Any = None) -> bool:
    """Tell macOS that a person waits for this thread. True where it took it."""
    if platform != "darwin":
        return False
    system = library or ctypes.CDLL(None)
    return bool(system.pthread_set_qos_class_self_np(_QOS_CLASS_USER_INITIATED, 0) == 0)


def go_first(file: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Let Linux, where it must end a process for want of memory, end this one: it costs an answer, and not the window.

    Other systems have no such file.
    """
    with contextlib.suppress(OSError):
        file.write_text(_OOM_SCORE)


def usually_kept(kept: int, held: int, context: int) -> int:
    """Bytes that a conversation of the usual length keeps, where one of `held` tokens keeps `kept`.

    `context` is what the model can hold. Without a limit it is a state, as large after one token as after all.
    """
    return kept if context >= UNBOUNDED else kept // grown(held) * min(context, _USUAL)


def set_limits(mx: MlxMemory, weights: int, kv: int) -> None:
    """Wire what the model needs and no more, and keep MLX's cache of free buffers small. `weights`, `kv` in bytes.

    mlx-lm wires all it may at every call, and undoes it after; a 700 MB model then holds 10 GB (exo#1672), and
    unbounded wiring ends in a kernel panic (mlx-lm#883). MLX's own default for its cache is 1.5 times the working set.
    """
    working_set = mx.device_info().get("max_recommended_working_set_size") or 0
    if working_set:
        mx.set_wired_limit(min(working_set, weights + kv + _HEADROOM))
        mx.set_cache_limit(working_set // 20)


def device_name(info: Mapping[str, Any], device: str) -> str:
    """The device as people know it, with the back end that drives it."""
    name = str(info.get("device_name") or info.get("architecture") or "unknown")
    backend = "CPU" if "cpu" in device else ("Metal" if sys.platform == "darwin" else "CUDA")
    return f"{name} ({backend})"
