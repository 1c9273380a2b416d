"""GGUF files for tests, by the `gguf` package's own writer."""

from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from model.weights.gguf import convert

HEADS, KV_HEADS, SIZE, INNER, LAYERS = 4, 2, 64, 96, 2
TOKENS = ["a", "b", "ab", "<end>", "<tool>", "[PAD5]", "1", "Ġ"]
ROWS = len(TOKENS)


def weights(architecture: str, size: int = SIZE, inner: int = INNER) -> dict[str, np.ndarray]:
    """Random weights by llama.cpp's names; heads of Qwen3 are as long as those of the others together."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (ROWS, size), "output_norm.weight": (size,)}
    head = size if architecture == "qwen3" else size // HEADS
    for n in range(LAYERS):
        matrices = {
            "attn_q": (HEADS * head, size),
            "attn_k": (KV_HEADS * head, size),
            "attn_v": (KV_HEADS * head, size),
            "attn_output": (size, HEADS * head),
            "ffn_gate": (inner, size),
            "ffn_up": (inner, size),
            "ffn_down": (size, inner),
        }
        shapes |= {f"blk.{n}.{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"blk.{n}.{name}.weight": (size,) for name in ("attn_norm", "ffn_norm")}
        if architecture == "qwen2":
            shapes |= {f"blk.{n}.{name}.bias": matrices[name][:1] for name in ("attn_q", "attn_k", "attn_v")}
        if architecture == "qwen3":
            shapes |= {f"blk.{n}.{name}.weight": (head,) for name in ("attn_q_norm", "attn_k_norm")}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def blocks(array: np.ndarray, kind: Kind) -> np.ndarray:
    """Blocks of this type: the weights', or any, of types that the package only reads."""
    try:
        return gguf.quantize(array, kind)
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        # No byte is so high that a float16 of it would be beyond 1.
        return np.random.default_rng(1).integers(0, 0x3C, (len(array), array.shape[1] // block * size), np.uint8)


def write_gguf(
    path: Path,
    architecture: str = "llama",
    *,
    kind: Kind = Kind.Q4_1,
    embedding: Kind = Kind.Q8_0,
    pre: str = "qwen2",
    tensors: dict[str, np.ndarray] | None = None,
    size: int = SIZE,
    inner: int = INNER,
    theta: float = 1e6,
    vocabulary: Callable[[gguf.GGUFWriter], None] | None = None,
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> Path:
    """A small, sound GGUF file by the `gguf` package's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(size)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(theta)
    if architecture == "qwen3":
        writer.add_key_length(size)
        writer.add_value_length(size)
    if vocabulary:
        vocabulary(writer)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(TOKENS)
        writer.add_token_types([1, 1, 1, 3, 4, 5, 1, 1])
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(0)
        writer.add_eot_token_id(3)
        writer.add_pad_token_id(3)
        writer.add_chat_template("{{ messages[0].content }}<end>")
    change(writer)
    for name, array in (weights(architecture, size, inner) if tensors is None else tensors).items():
        stored = Kind.F32 if array.ndim == 1 else embedding if name == "token_embd.weight" else kind
        if stored == Kind.F32:
            writer.add_tensor(name, array)
        elif stored == Kind.F16:
            writer.add_tensor(name, array.astype(np.float16))
        else:
            writer.add_tensor(name, blocks(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def convert_and_tell(path: Path, conversions: Path, result: "SimpleQueue[str]") -> None:
    """Converts in a process of its own, and says where to."""
    result.put(str(convert(path, conversions, lambda done, total: None)))
