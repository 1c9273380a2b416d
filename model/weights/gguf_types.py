"""ggml's types of weights by number, and how a matrix of each is stored once it is converted for MLX.

The format: ggml.h, `ggml_type`, and llama.h, `llama_ftype`. Facts only, without numpy: the window asks for them. It
knows no files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

GROUP = 32
"""Weights that share a scale in the types that are repacked."""


@dataclass(frozen=True)
class Packing:
    """How MLX stores a matrix: `bits` a weight, a scale and a bias for every `group` weights of a row."""

    bits: int
    group: int


class BlockType(NamedTuple):
    """One of ggml's types: `block` weights of a row take `size` bytes."""

    name: str
    block: int
    size: int
    kept: int | None = None
    """The bits of MLX's that hold its codes as they are; None: it is quantised anew, or consists of plain numbers."""


TYPES: Mapping[int, BlockType] = MappingProxyType(
    {
        0: BlockType("F32", 1, 4),
        1: BlockType("F16", 1, 2),
        2: BlockType("Q4_0", 32, 18, 4),
        3: BlockType("Q4_1", 32, 20, 4),
        6: BlockType("Q5_0", 32, 22, 8),
        7: BlockType("Q5_1", 32, 24, 8),
        8: BlockType("Q8_0", 32, 34, 8),
        10: BlockType("Q2_K", 256, 84),
        11: BlockType("Q3_K", 256, 110),
        12: BlockType("Q4_K", 256, 144, 4),
        13: BlockType("Q5_K", 256, 176, 8),
        14: BlockType("Q6_K", 256, 210),
        16: BlockType("IQ2_XXS", 256, 66),
        17: BlockType("IQ2_XS", 256, 74),
        18: BlockType("IQ3_XXS", 256, 98),
        19: BlockType("IQ1_S", 256, 50),
        20: BlockType("IQ4_NL", 32, 18),
        21: BlockType("IQ3_S", 256, 110),
        22: BlockType("IQ2_S", 256, 82),
        23: BlockType("IQ4_XS", 256, 136),
        29: BlockType("IQ1_M", 256, 56),
        30: BlockType("BF16", 1, 2),
        34: BlockType("TQ1_0", 256, 54),
        35: BlockType("TQ2_0", 256, 66),
        39: BlockType("MXFP4", 32, 17),
        40: BlockType("NVFP4", 64, 36),
    }
)
"""Those that published weights have and the `gguf` package reads."""

FILE_TYPES: Mapping[int, str] = MappingProxyType(
    {
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
        12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
        19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
        26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
        37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    }
)  # fmt: skip
"""What people call a file by the mixture of types in it, by the number in `general.file_type`."""


def packing(kind: int, columns: int, bits: int | None) -> Packing | None:
    """How to store a matrix of this type, one of `TYPES`; None: as the plain numbers it consists of.

    `bits`, 4 or 8, is for what has to be quantised anew; by default 8 where the file spends more than 5 bits on a
    weight, else 4. Types whose own 4 bits can be kept stay so, plain numbers become codes only on demand.
    """
    found = TYPES[kind]
    if found.kept is not None and (bits is None or found.kept <= bits):
        return Packing(found.kept, GROUP)
    if found.block == 1 and bits is None:
        return None
    chosen = bits or (8 if found.size * 8 / found.block > 5 else 4)
    if columns % GROUP:
        return None
    # With 4 bits the smaller group is worth its half bit a weight; K-quants' own groups are of 16 and 32.
    return Packing(chosen, 64 if chosen == 8 and columns % 64 == 0 else GROUP)
