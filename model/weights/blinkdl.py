"""What BlinkDL's own files of RWKV leave unsaid: the configuration, told by names and shapes, and the vocabulary.

RWKV-4 and RWKV-7 are told apart by what only one of them has. It looks at no number.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from model.config import read_object
from model.errors import ModelError
from model.tokenizer_files import LIBRARY, WORLD, WORLD_ROWS
from model.weights.safetensors import MAX_HEADER, TensorInfo, shards

PILE = "20B_tokenizer.json"
"""GPT-NeoX's tokenizer, by which RWKV-4's Pile and Raven models were trained; it has fewer tokens than World's."""
VOCABULARIES = (WORLD, PILE, LIBRARY)
"""The files that may lie beside the weights; the last whatever it was trained by."""
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

_LAYER = re.compile(r"blocks\.(\d{1,6})\.")
_LENGTH = re.compile(r"ctx(\d{3,7})", re.IGNORECASE)
"""How names of files tell the length of the texts that were trained on: "RWKV-4-World-0.4B-v1-20230529-ctx4096"."""


class Stored(Protocol):
    """A tensor of a file, whatever the format."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int: ...


Tensors = Mapping[str, Stored]


def fields_of(tensors: Tensors, name: str) -> dict[str, object]:
    """What config.json would say, for `parse_config`. `name` is the file's, without its suffix.

    ModelError("unsupported") for what is neither RWKV-4 nor RWKV-7.
    """
    if "emb.weight" not in tensors or not any(map(_LAYER.match, tensors)):
        raise ModelError(f"{name} holds no RWKV model; get a safetensors version of it.", "unsupported")
    layers = 1 + max(int(found[1]) for tensor in tensors if (found := _LAYER.match(tensor)))
    fields: dict[str, object] = {
        "vocab_size": _axis(tensors, "emb.weight", 0, name),
        "hidden_size": _axis(tensors, "emb.weight", 1, name),
        "num_hidden_layers": layers,
        "intermediate_size": _axis(tensors, "blocks.0.ffn.key.weight", 0, name),
        "tie_word_embeddings": False,
        "torch_dtype": _TYPES.get(usual_type(tensors)),
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    if found := _LENGTH.search(name):
        fields["context_length"] = int(found[1])
    if "blocks.0.att.r_k" in tensors:
        last = f"blocks.{layers - 1}.att"  # the first layer has no values of an earlier one to lean towards
        return (
            fields
            | {
                "model_type": "rwkv7",
                "num_heads": _axis(tensors, "blocks.0.att.r_k", 0, name),
                "head_dim": _axis(tensors, "blocks.0.att.r_k", 1, name),
                "decay_low_rank_dim": _axis(tensors, "blocks.0.att.w1", 1, name),
                "a_low_rank_dim": _axis(tensors, "blocks.0.att.a1", 1, name),
                "gate_low_rank_dim": _axis(tensors, "blocks.0.att.g1", 1, name),
            }
            | ({"v_low_rank_dim": _axis(tensors, f"{last}.v1", 1, name)} if layers > 1 else {})
        )
    if "blocks.0.att.time_mix_k" in tensors and "blocks.0.att.ln_x.weight" not in tensors:
        return fields | {
            "model_type": "rwkv",
            "attention_hidden_size": _axis(tensors, "blocks.0.att.key.weight", 0, name),
        }
    raise ModelError(
        f"{name} is an RWKV of another version than 4 and 7, and nothing here runs those; choose one of these two.",
        "unsupported",
    )


def read_fields(folder: Path, name: str = "", longest: int = MAX_HEADER) -> dict[str, object]:
    """config.json of a checkpoint folder; where there is none, what it would say if the weights have BlinkDL's names.

    `name` is what errors call it, by default the folder's; `longest` is of a header, in bytes. ModelError as in
    `model.config.read_fields`.
    """
    if not (folder / "config.json").exists():
        stored: dict[str, TensorInfo] = {}
        with contextlib.suppress(ModelError, OSError):
            stored = {name: info for held in shards(folder, longest).values() for name, info in held.items()}
        if "emb.weight" in stored:
            return fields_of(stored, folder.name)
    return read_object(folder / "config.json", name or folder.name)


def usual_type(tensors: Tensors) -> str:
    """The type of most bytes, as safetensors calls it."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.nbytes
    return max(sizes, key=lambda dtype: sizes[dtype])


def _axis(tensors: Tensors, tensor: str, axis: int, name: str) -> int:
    if tensor not in tensors or len(tensors[tensor].shape) != 2:
        raise ModelError(f"{name}: the weights have no matrix {tensor}; get the file again.")
    return tensors[tensor].shape[axis]


def vocabulary_beside(path: Path, rows: int) -> Path:
    """The file beside `path` that the ids of a model with so many rows belong to. ModelError where there is none."""
    wanted = WORLD if rows >= WORLD_ROWS else PILE
    for name in (wanted, LIBRARY):
        if (found := path.with_name(name)).is_file():
            return found
    raise ModelError(f"{path.name} comes without its vocabulary; put {wanted} from its author's repository beside it")


def vocabulary_name(vocabulary: Path) -> str:
    """What the file that was found beside the weights is called in a checkpoint folder."""
    return WORLD if vocabulary.name == WORLD else LIBRARY
