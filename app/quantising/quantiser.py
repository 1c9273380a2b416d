"""The process that quantises: `python -m app.quantising.quantiser SOURCE DESTINATION NAME BITS GROUP_SIZE`.

It says how far it has come, what came out, and how that compares. It speaks to nobody else.
"""

import errno
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from app.child import Say, serve
from app.closed import refuse_connections
from app.engine.blas import load_fast_blas
from app.errors import QuietlyError
from app.quantising import Packed, Step

_FREE_BUFFERS = 64 * 1024**2
"""Bytes that MLX may keep for its next matrix: they are of all sizes, and memory is what is short."""


def main(arguments: Sequence[str]) -> None:
    """Quantise as told, then end the process."""
    source, destination, name, bits, group_size = arguments
    refuse_connections()
    load_fast_blas()
    serve(
        partial(_work, Path(source), Path(destination), name, int(bits), int(group_size)),
        partial(_why, name),
        # Whoever asked is gone, and would have done it.
        clear=lambda: shutil.rmtree(Path(destination).parent, ignore_errors=True),
    )


def _work(source: Path, destination: Path, name: str, bits: int, group_size: int, say: Say) -> None:
    import mlx.core as mx

    from app.library.machine import this_machine
    from app.quantising.comparing import compare
    from app.settings import paths
    from model.errors import ModelError
    from model.weights.conversions import is_pth
    from model.weights.deviation import Deviation, relative_error
    from model.weights.pth_conversion import convert
    from model.weights.quantise import quantise

    mx.set_cache_limit(_FREE_BUFFERS)
    deviations: list[Deviation] = []
    try:
        if is_pth(source):
            source = convert(source, paths().conversions, lambda done, total: say(Step("convert", done, total)))
        quantise(
            source,
            destination,
            bits,
            group_size,
            progress=lambda done, total: say(Step("pack", done, total)),
            name=name,
            memory=this_machine().available,
            measured=deviations.append,
        )
    except ModelError as error:
        # Where it is put together is a folder beside the one that was asked for; it is that one people know.
        workshop = destination.parent
        raise QuietlyError(str(error).replace(str(workshop), str(workshop.parent))) from None
    worst = max(deviations, key=lambda deviation: relative_error([deviation]))
    say(
        Packed(
            before=weight_bytes(source),
            after=weight_bytes(destination),
            error=relative_error(deviations),
            worst=worst.module,
            worst_error=relative_error([worst]),
        )
    )
    say(compare(source, destination, name, lambda done, total: say(Step("compare", done, total))))


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files of a checkpoint."""
    from model.weights.safetensors import shards

    return sum(path.stat().st_size for path in shards(folder))


def _why(name: str, error: BaseException) -> str:
    """What went wrong in MLX, as the sentence a person needs."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or "memory" in text or "allocate" in text:
        return f"There is not enough memory to quantise {name}: close other programs and try again."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: make room, then quantise {name} again."
    return f"{name} could not be quantised ({type(error).__name__}): quantiser.log among Quietly's logs says more."


if __name__ == "__main__":
    main(sys.argv[1:])
