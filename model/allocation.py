"""The rules by which memory is taken: capacities, blocks, what is unpacked. They stand apart from the code that
follows them, so that what it will take can be foretold without it (`model.memory`). It knows no MLX.
"""

import contextlib
import os
from pathlib import Path

CAPACITY_STEP = 256
"""Positions that a growing cache makes room for at first, and a multiple of which it always has room for: kernels that
read a whole buffer ask for such a number (MLX's attention by cuDNN)."""
JOINT_BYTES = 12 * 1024 * 1024
"""Bytes of a layer's keys and values up to which they are kept in one buffer (tests/benchmarks/LOG.md)."""
SLACK = 256
"""Positions that sliding layers keep beyond their window, so that the last ones can be taken back exactly."""
SNAPSHOTS = 8
"""Points that a session can return to, at most: the prompt's end and the answer's end of the last four turns."""
SNAPSHOT_BYTES = 512 * 1024 * 1024
"""What they may take together; the oldest go first."""
LAYERS_AT_ONCE = 2
"""Layers that a GPU is given while a prompt is read, before the ones given to it earlier are waited for."""
BLOCK = 1024
"""Keys at once in blocked attention."""
FUSED_HEAD_DIMS = (64, 80, 96, 128)
"""Head dimensions for which Metal and CUDA have kernels that never hold a whole row of scores."""
MOST_SCORES = 512 * 1024 * 1024
"""Bytes of scores that attention without blocks may hold: beyond it the blocked form is chosen."""


def grown(wanted: int) -> int:
    """The capacity of a growing cache that has to hold `wanted` positions.

    Each is an eighth larger than the one before, so that appending costs O(1), and little stands empty: some kernels
    read that too. They are the same in however large pieces a conversation comes.
    """
    capacity = CAPACITY_STEP
    while capacity < wanted:
        capacity += max(capacity // (8 * CAPACITY_STEP), 1) * CAPACITY_STEP
    return capacity


def rotated(held: int, window: int, slack: int, length: int) -> tuple[int, int]:
    """What a full sliding cache keeps of `held` positions to append `length`, and the capacity of its new buffer."""
    kept = min(held, window - 1 + slack)
    return kept, kept + max(length, slack)


def holds_scores(gpu: bool, head_dim: int) -> bool:
    """Whether MLX's fused attention holds all scores at once: on the CPU, and for heads its kernels do not know."""
    return not gpu or head_dim not in FUSED_HEAD_DIMS


def unpacks(dense_bytes: int, memory: int) -> bool:
    """Whether a CPU with `memory` may unpack quantised weights into `dense_bytes` of float32.

    MLX's CPU back end multiplies packed weights one by one, twenty times slower than a BLAS multiplies dense ones; so
    it is done where the memory allows.
    """
    return dense_bytes <= min(memory // 4, 4 * 1024**3)


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container it is, where that has a limit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory
