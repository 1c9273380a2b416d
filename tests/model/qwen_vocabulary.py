"""The real tokenizer of Qwen2.5, rebuilt from the ranks that the PyPI package dashscope carries.

The file lists each token's bytes with its rank. A BPE merge is what made a token out of two earlier ones, so merging a
token's own bytes with only the ranks below its own leaves exactly those two.
"""

import base64
from importlib.metadata import files
from pathlib import Path
from typing import Any

from model.weights.gguf_tokenizer import QWEN2

SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
)
NOT_SPECIAL = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
)


def ranks() -> dict[bytes, int]:
    """The published table: 151,643 byte strings, each with its rank, which is its id."""
    (found,) = (entry for entry in files("dashscope") or () if entry.name == "qwen.tiktoken")
    lines = Path(str(found.locate())).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def merges(table: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two parts of every token longer than a byte, in the order of their ranks."""
    halves: dict[bytes, tuple[bytes, bytes]] = {}
    for token, rank in table.items():
        if len(token) == 1:
            continue
        cuts = [
            n for n in range(1, len(token)) if is_below(table, token[:n], rank) and is_below(table, token[n:], rank)
        ]
        # For almost half of the vocabulary there is only one.
        cut = next(n for n in cuts if len(cuts) == 1 or stay_apart(token[:n], token[n:], rank, table, halves))
        halves[token] = (token[:cut], token[cut:])
    return list(halves.values())


def stay_apart(
    left: bytes, right: bytes, rank: int, table: dict[bytes, int], halves: dict[bytes, tuple[bytes, bytes]]
) -> bool:
    """Whether both come about side by side with ranks below `rank`: nothing merges across the cut before.

    Goes back in time: the younger of the two parts that touch at the cut falls into its halves, and what touched then
    must not make a token that is older than what came after.
    """
    while table.get(left + right, rank) >= rank:
        if len(left) == 1 and len(right) == 1:
            return True
        if len(right) == 1 or (len(left) > 1 and table[left] > table[right]):
            rank, left = table[left], halves[left][1]
        else:
            rank, right = table[right] + 1, halves[right][0]  # of equals the left one is merged first
    return False


def is_below(table: dict[bytes, int], token: bytes, rank: int) -> bool:
    return table.get(token, rank) < rank


def tokenizer_content() -> dict[str, Any]:
    """What tokenizer.json holds."""
    table = ranks()
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    letters = {byte: chr(byte if byte in visible else next(hidden)) for byte in range(256)}
    # latin-1 reads each byte as the character of that number, which `translate` then maps.
    written = {token: token.decode("latin-1").translate(letters) for token in table}
    names = [*SPECIAL.split(), *NOT_SPECIAL.split()]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": len(table) + n, "content": name, "special": name in SPECIAL.split(), **flags}
            for n, name in enumerate(names)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {written[token]: rank for token, rank in table.items()},
            "merges": [[written[left], written[right]] for left, right in merges(table)],
        },
    }
