"""How a model is computed on a device where there is more than one way: the rule, and what can be tried beside it.

The rule is fixed by recorded results (tests/benchmarks/LOG.md), so that a device computes the same way each time; what
a person has measured on a machine may stand in its place. It knows no MLX.
"""

from dataclasses import dataclass, replace

_AT_ONCE = 0.25
"""Seconds that reading a chunk may take: who presses Esc waits for its end."""
_SMALLEST, LARGEST_CHUNK = 64, 4096
"""Tokens of a chunk: fewer are read no sooner, more no faster."""
_CPU_RECURRENT, _LARGEST_RECURRENT = 128, 1024
"""The same of a recurrent model: on a CPU twice as many are read faster by a fifth to a half and stay stoppable; more
on a GPU take memory, sixty hidden states a token in float32, for what nobody has measured to be faster."""
_H100 = 140e12
_APPLE = {"p": 1e12, "g": 2e12, "s": 4e12, "c": 8e12, "d": 16e12}
"""Operations a second that a GPU reaches while it reads a prompt. The H100's was measured with a 7B in 4 bit. Apple's
were not: they are what is published of the first generation's arithmetic, rounded down. MLX's name for such a GPU ends
in a letter for its size: p of a phone, g the plain one, s Pro, c Max, d Ultra."""
_CPU_UNPACKS, _CUDA_UNPACKS = 16, 512
"""Rows. A CPU multiplies packed weights one by one, 0.8 ns each for every row, and unpacks them in 2. An H100 breaks
even at 256 to 512 rows, and is four times as fast at 4,096. Metal's kernels unpack in registers, by their source at no
such price; nobody has measured it."""
NEVER = 1 << 62
"""Rows that nothing has."""
_HOST_BOUND = 3e9
"""Parameters up to which a GPU's host takes longer to queue a step than the GPU to compute it."""


@dataclass(frozen=True)
class Choices:
    """One way to compute."""

    chunk: int
    """Tokens of a prompt that are read at once."""
    joined: bool
    """Whether queries, keys and values are one product, and gate and up of the feed-forward another."""
    compiled: bool
    """Whether what lies between the caches of two layers runs compiled while an answer is written."""
    joint: bool = True
    """Whether a layer's small keys and values are one buffer: less to queue, and slower kernels of attention."""
    unpack: int = NEVER
    """Rows from which on a packed matrix is unpacked before they are multiplied by it."""


def choices_for(gpu: bool, architecture: str, parameters: int, recurrent: bool = False) -> Choices:
    """What is known to be good. `architecture` is MLX's name for a GPU, `parameters` how many the model has, which is
    `recurrent` where it has no attention: then a chunk takes as long far into a conversation as at its beginning."""
    if not gpu:
        return Choices(
            chunk=_CPU_RECURRENT if recurrent else _SMALLEST,
            joined=True,
            compiled=False,
            unpack=_CPU_UNPACKS,
        )
    apple = architecture.startswith("applegpu")
    rate = _APPLE.get(architecture[-1], _APPLE["g"]) if apple else _H100
    chunk = _LARGEST_RECURRENT if recurrent else LARGEST_CHUNK
    while chunk > _SMALLEST and 2 * parameters * chunk > rate * _AT_ONCE:
        chunk //= 2
    return Choices(
        chunk,
        joined=True,
        compiled=True,
        joint=parameters < _HOST_BOUND,
        unpack=NEVER if apple else _CUDA_UNPACKS,
    )


def variants(chosen: Choices, gpu: bool) -> list[Choices]:
    """What is worth trying beside `chosen`, each differing from it in one thing."""
    chunks = [_SMALLEST << step for step in range((LARGEST_CHUNK // _SMALLEST).bit_length())]
    found = [replace(chosen, chunk=chunk) for chunk in chunks if chunk != chosen.chunk]
    found.append(replace(chosen, joined=not chosen.joined))
    found.append(replace(chosen, unpack=_CUDA_UNPACKS if chosen.unpack == NEVER else NEVER))
    if gpu:
        found.append(replace(chosen, joint=not chosen.joint))
        found.append(replace(chosen, compiled=not chosen.compiled))
    return found
