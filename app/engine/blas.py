"""A fast BLAS for MLX's CPU back end on Linux.

MLX's wheel links the reference BLAS, thirty times slower in a product of matrices. A real one that is loaded before it,
with its symbols global, answers in its place: the system's OpenBLAS, else the one that the PyPI package faiss-cpu
carries. Knows nothing of MLX; must run before MLX is imported.
"""

import ctypes
import importlib.metadata
import re
import sys
from pathlib import Path

_SYSTEM_NAMES = ("libopenblas.so.0", "libopenblas.so")
_CARRIER = "faiss-cpu"
_NEEDED_FIRST = re.compile(r"lib(quadmath|gfortran|gomp)")


def load_fast_blas() -> str | None:
    """Load the best BLAS there is and say which; None where there is none, or none is needed."""
    if sys.platform != "linux":
        return None
    for name in _SYSTEM_NAMES:
        if _load(name):
            return f"OpenBLAS of the system ({name})"
    libraries = carried_libraries()
    for library in libraries:
        if _NEEDED_FIRST.match(library.name):
            _load(str(library))
    for library in libraries:
        if library.name.startswith("libopenblas") and _load(str(library)):
            return f"OpenBLAS of {_CARRIER} ({library.name})"
    return None


def carried_libraries() -> list[Path]:
    """The shared libraries of the carrier package: those that OpenBLAS needs in the order they need each other."""
    try:
        files = importlib.metadata.files(_CARRIER) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    order = ("libquadmath", "libgfortran", "libgomp", "libopenblas")
    found = [Path(str(file.locate())) for file in files if file.name.startswith(order) and ".so" in file.name]
    return sorted(found, key=lambda path: [path.name.startswith(prefix) for prefix in order].index(True))


def _load(library: str) -> bool:
    """Whether `library` is loaded now and computes: a 64-bit-integer build has other names and cannot serve."""
    try:
        return hasattr(ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL), "cblas_sgemm")
    except OSError:
        return False
