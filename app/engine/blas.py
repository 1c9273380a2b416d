"""A fast BLAS for MLX's CPU back end on Linux.

MLX's wheel links the reference BLAS, thirty times slower in a product of matrices. A real one that is loaded before it,
with its symbols global, answers in its place: the OpenBLAS that the installer has brought, else the system's. Knows
nothing of MLX; must run before MLX is imported.
"""

import ctypes
import re
import sys
from pathlib import Path

BROUGHT = Path(sys.prefix, "lib", "quietly", "libopenblas.so")
"""Where the installer puts scipy-openblas32's library under OpenBLAS's own names."""
_SYSTEM_NAMES = ("libopenblas.so.0", "libopenblas.so")


def load_fast_blas() -> str | None:
    """Load the best BLAS there is and say which; None where there is none, or none is needed."""
    if sys.platform != "linux":
        return None
    if BROUGHT.exists() and (which := _load(str(BROUGHT))):
        return f"{which} of scipy-openblas32"
    for name in _SYSTEM_NAMES:
        if which := _load(name):
            return f"{which} of the system ({name})"
    return None


def _load(library: str) -> str | None:
    """What `library`, loaded now, says it is, with its kernels; None where it does not compute for MLX: a build with
    64-bit integers has other names."""
    try:
        loaded = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    if not hasattr(loaded, "cblas_sgemm"):
        return None
    if not hasattr(loaded, "openblas_get_config"):
        return "OpenBLAS"
    loaded.openblas_get_config.restype = ctypes.c_char_p
    config: str = loaded.openblas_get_config().decode("ascii", "replace")
    named = re.match(r"(OpenBLAS [\d.]+)(?:.* (\w+) MAX_THREADS)?", config)
    version, kernels = named.groups() if named else ("OpenBLAS", None)
    return f"{version} ({kernels} kernels)" if kernels else version
