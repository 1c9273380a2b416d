"""Put the OpenBLAS of scipy-openblas32 under the names that MLX asks for: `python openblas.py TARGET`.

There all names begin with scipy_, so that it can stand beside others; here it is to stand in for MLX's own.
"""

import sys
from importlib.metadata import files
from pathlib import Path

import lief

PREFIX = "scipy_"
ASKED = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm", "openblas_get_config")


def main(target: Path) -> None:
    (source,) = (file for file in files("scipy-openblas32") or () if file.name == "libscipy_openblas.so")
    library = lief.parse(str(source.locate()))
    found = [symbol for symbol in library.dynamic_symbols if symbol.name.removeprefix(PREFIX) in ASKED]
    assert len(found) == len(ASKED), [symbol.name for symbol in found]
    for symbol in found:
        symbol.name = symbol.name.removeprefix(PREFIX)
    target.parent.mkdir(parents=True, exist_ok=True)
    library.write(str(target))


main(Path(sys.argv[1]))
