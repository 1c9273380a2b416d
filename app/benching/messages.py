"""What can be measured and what comes of it: the messages between `quietly bench` and the processes that measure.

Times are seconds of a monotonic clock in the process that computes; sizes are bytes. Knows nothing of who measures.
"""

import msgspec

from model.choices import Choices

# --- what can be measured -------------------------------------------------------------------------------------------


class Prefill(msgspec.Struct, frozen=True, tag=True):
    """The time from a prompt of so many tokens, of which nothing is known yet, to the first token of the answer."""

    tokens: int


class Decode(msgspec.Struct, frozen=True, tag=True):
    """The time for so many tokens, one after another, behind `depth` tokens that have been read: the intervals between
    tokens, so that neither reading nor the first token counts."""

    depth: int
    tokens: int


class Turn(msgspec.Struct, frozen=True, tag=True):
    """The time to the first token where `new` tokens follow `held` ones whose keys and values are in memory."""

    held: int
    new: int


class Restore(msgspec.Struct, frozen=True, tag=True):
    """The same where those keys and values are in a file: reading it counts."""

    held: int
    new: int


class Bandwidth(msgspec.Struct, frozen=True, tag=True):
    """The time in which the device reads so many bytes of its memory, some number of times, as fast as it can."""

    size: int


Thing = Prefill | Decode | Turn | Restore | Bandwidth


# --- what comes of it -----------------------------------------------------------------------------------------------


class Opening(msgspec.Struct, frozen=True, tag=True):
    """How far opening the model has come: of bytes, or of tensors that are converted first."""

    done: int
    total: int


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """Someone is ready to be measured, and how he is set up."""

    version: str
    """Of the program that computes, as "MLX 0.32.4"."""
    device: str
    """What it computes on, as people know it."""
    configuration: tuple[tuple[str, str], ...]
    """How it computes: a name and a value each, in a few words."""
    context: int
    """Tokens that the model holds; nothing longer is asked."""
    choices: Choices | None = None
    """The ways to compute that are in force, where there is more than one that we know of: Quietly's own."""
    parameters: int | None = None
    """Of the model; None where nobody counted them."""


class Sample(msgspec.Struct, frozen=True, tag=True):
    """One thing, measured once."""

    seconds: float
    memory: int | None = None
    """At most at one time, while this was measured: weights, caches and workspace. None where it cannot be told."""
    read: int | None = None
    """Of `Decode`: bytes of weights, keys and values that each token needs; of `Bandwidth`: bytes in all."""
    kept: int | None = None
    """Of `Prefill`: bytes of keys and values, or of the state, that stand for the prompt afterwards."""


class Unmeasured(msgspec.Struct, frozen=True, tag=True):
    """One thing that cannot be measured; others can."""

    why: str
    """A few words without a full stop, as "it keeps no sessions"."""
