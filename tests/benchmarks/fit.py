"""What `model.memory` foretells beside MLX's own peak: `python -m tests.benchmarks.fit [--large] [SHAPE...]`.

Each shape is a checkpoint of zeros, opened and talked to in a process of its own: six turns up to the shape's context,
so that caches grow, windows rotate and points to return to pile up as in a conversation. It needs MLX, numpy and this
tree. A table comes first, then a line of JSON per shape, from which the constants of a back end can be had.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model import memory
from model.allocation import memory_here
from model.choices import choices_for
from model.config import Config, parse_config
from model.facts import parameters
from model.memory import BackEnd, KvBits, Taken

ANSWER = 16
"""Tokens written in each turn."""
TURNS = (0.4, 0.55, 0.7, 0.85, 1.0)
"""Where the turns after the first short one end, as shares of the context."""
FOUR_BITS = {"group_size": 64, "bits": 4}


@dataclass(frozen=True)
class Shape:
    """A model, and how it is talked to. `fields` are over those of `BASE`."""

    context: int
    fields: dict[str, Any] = field(default_factory=dict)
    kv_bits: KvBits | None = None

    @property
    def config(self) -> Config:
        return parse_config({**BASE, **self.fields}, "shape")


BASE: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 32000,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1 << 17,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
_SLIDING = {"use_sliding_window": True, "sliding_window": 512, "num_key_value_heads": 8, "vocab_size": 8000}
_LARGE_VOCABULARY = {"vocab_size": 151936, "hidden_size": 256, "num_attention_heads": 4}
_RECURRENT = {"num_attention_heads": None, "num_key_value_heads": None, "tie_word_embeddings": False}
_RWKV4 = {**_RECURRENT, "model_type": "rwkv", "intermediate_size": 2048}
_RWKV7 = {**_RECURRENT, "model_type": "rwkv7", "intermediate_size": 2048, "v_low_rank_dim": 32}
_WIDE_HEADS = {"num_hidden_layers": 3, "num_attention_heads": 2, "head_dim": 256, "num_key_value_heads": 1}
SHAPES: dict[str, Shape] = {
    "grouped queries": Shape(2048),
    "4 bit, untied": Shape(2048, {"quantization": FOUR_BITS, "tie_word_embeddings": False}),
    "multi-head": Shape(2048, {"num_key_value_heads": 8, "vocab_size": 8000}),
    "multi-query": Shape(3072, {"num_key_value_heads": 1, "vocab_size": 8000}),
    "windows": Shape(3072, {**_SLIDING, "max_window_layers": 0}),
    "hybrid": Shape(3072, {**_SLIDING, "max_window_layers": 3}),
    "large vocabulary": Shape(1024, {**_LARGE_VOCABULARY, "quantization": FOUR_BITS}),
    "8-bit KV": Shape(3072, {"num_key_value_heads": 8, "vocab_size": 8000}, kv_bits=8),
    "4-bit KV, 8 bit": Shape(3072, {"num_key_value_heads": 4, "quantization": {"group_size": 32, "bits": 8}}, 4),
    "long, wide heads": Shape(8192, {**_WIDE_HEADS, "vocab_size": 8000}),
    "PanGu-π": Shape(2048, {"model_type": "pangu_pi", "vocab_size": 8000}),
    "RWKV-4": Shape(1024, {**_RWKV4, "vocab_size": 8000}),
    "RWKV-7": Shape(2048, {**_RWKV7, "vocab_size": 8000}),
    "RWKV-7, 4 bit": Shape(1024, {**_RWKV7, "quantization": FOUR_BITS}),
}
"""Small enough for a CPU, each with something that the others have not."""


def _published(layers: int, hidden: int, heads: int, kv: int, inner: int, **more: Any) -> dict[str, Any]:
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    return {**dict(zip(names, (layers, hidden, heads, kv, inner), strict=True)), "vocab_size": 151936, **more}


def _recurrent(layers: int, hidden: int, inner: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "vocab_size": 65536,
    }


_LOW_RANKS = {"decay_low_rank_dim": 128, "a_low_rank_dim": 128, "v_low_rank_dim": 96, "gate_low_rank_dim": 480}
_HALF = _published(24, 896, 14, 2, 4864)
_SEVEN = _published(28, 3584, 28, 4, 18944, vocab_size=152064, tie_word_embeddings=False)
LARGE: dict[str, Shape] = {
    "0.5B, 4 bit": Shape(8192, {**_HALF, "quantization": FOUR_BITS}),
    "0.5B, bf16": Shape(32768, _HALF),
    "0.6B of Qwen3": Shape(8192, _published(28, 1024, 16, 8, 3072, head_dim=128, model_type="qwen3")),
    "7B, 4 bit": Shape(8192, {**_SEVEN, "quantization": FOUR_BITS}),
    "7B, 4 bit, long": Shape(32768, {**_SEVEN, "quantization": FOUR_BITS}),
    "7B, bf16": Shape(8192, _SEVEN),
    "7B, 8-bit KV": Shape(8192, {**_SEVEN, "quantization": FOUR_BITS}, kv_bits=8),
    "7B, windows": Shape(
        16384,
        {
            **_SEVEN,
            "quantization": FOUR_BITS,
            "use_sliding_window": True,
            "sliding_window": 4096,
            "max_window_layers": 7,
        },
    ),
    "7B of RWKV-4": Shape(8192, {**_RWKV4, **_recurrent(32, 4096, 16384), "vocab_size": 50277}),
    "0.4B of RWKV-7": Shape(8192, {**_RWKV7, **_recurrent(24, 1024, 4096)}),
    "7B of RWKV-7": Shape(8192, {**_RWKV7, **_recurrent(32, 4096, 16384), **_LOW_RANKS}),
    "7B of RWKV-7, 4 bit": Shape(
        8192, {**_RWKV7, **_recurrent(32, 4096, 16384), **_LOW_RANKS, "quantization": FOUR_BITS}
    ),
}
"""Published shapes, for a GPU."""


@dataclass(frozen=True)
class Measured:
    """What MLX counted, in bytes."""

    device: str
    back_end: str
    weights: int
    loading: int
    """The peak while the weights were read."""
    held: int
    """Caches, or the state, and points to return to, at the end."""
    reading: int
    """The peak while prompts were read, all turns."""
    writing: int
    """The peak while answers were written, all turns."""
    beside: int
    """What the process has on the device beside what MLX counts; with a CPU, in memory."""
    cached: int
    """Freed buffers that MLX keeps."""

    @property
    def peak(self) -> int:
        return max(self.loading, self.reading, self.writing)


def measure(name: str) -> Measured:
    """One shape on MLX's default device, in a process of its own. RuntimeError where that fails."""
    command = [sys.executable, "-m", "tests.benchmarks.fit", "--child", name]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if ended.returncode:
        raise RuntimeError(f"{name}: {ended.stderr[-2000:]}")
    return Measured(**json.loads(ended.stdout.splitlines()[-1]))


def foretold(shape: Shape, back_end: BackEnd) -> Taken:
    return memory.taken(shape.config, shape.context, back_end, memory_here(), kv_bits=shape.kv_bits)


def back_end_of(measured: Measured) -> BackEnd:
    return {"CPU": memory.CPU, "CUDA": memory.CUDA, "Metal": memory.METAL}[measured.back_end]


# --- in the child ---------------------------------------------------------------------------------------------------


def _talk(shape: Shape) -> Measured:
    from app.engine.blas import load_fast_blas

    load_fast_blas()
    import mlx.core as mx

    from model.cache import CacheOptions, KVQuantisation
    from model.registry import OURS
    from model.sampling import Sampler, Sampling, token_id
    from model.session import Session, SessionOptions
    from model.weights.place import Placement
    from model.weights.precision import this_device
    from model.weights.safetensors import shards

    config, gpu = shape.config, mx.default_device().type == mx.DeviceType.gpu
    network = OURS[config.model_type](config)
    with tempfile.TemporaryDirectory() as folder:
        _write_zeros(Path(folder), shape)
        mx.reset_peak_memory()
        placement = Placement(network, config, shards(Path(folder)), "shape", bool(config.tie_word_embeddings))
        placement.fill(lambda done, total: None)
    network.eval()
    choices = choices_for(gpu, this_device().architecture, parameters(config).total, config.recurrent)
    network.arrange(choices)
    weights, loading = mx.get_active_memory(), mx.get_peak_memory()
    packed = KVQuantisation(bits=shape.kv_bits) if shape.kv_bits else None
    session = Session(network, SessionOptions(shape.context + 1, choices.chunk, CacheOptions(packed)))
    sampler = Sampler(Sampling(temperature=0.7, top_p=0.9), config.vocab_size)
    reading = writing = 0
    for end in (128, *(int(share * shape.context) for share in TURNS)):
        mx.reset_peak_memory()
        held = session.tokens
        logits = session.prefill([*held, *(index % 1000 for index in range(len(held), end - ANSWER))])
        reading = max(reading, mx.get_peak_memory())
        mx.reset_peak_memory()
        token = sampler(logits)
        mx.async_eval(token)
        for _ in range(ANSWER):
            following = sampler(session.step(token))
            session.begin_step()  # as `Generation` does
            token_id(token)
            mx.async_eval(following)
            token = following
        token_id(token)
        writing = max(writing, mx.get_peak_memory())
    return Measured(
        device=str(mx.device_info().get("device_name", "unknown")),
        back_end=("Metal" if sys.platform == "darwin" else "CUDA") if gpu else "CPU",
        weights=weights,
        loading=loading,
        held=session.nbytes,
        reading=reading,
        writing=writing,
        beside=_beside(mx, gpu, max(loading, reading, writing)),
        cached=mx.get_cache_memory(),
    )


def _write_zeros(folder: Path, shape: Shape) -> None:
    """The checkpoint as a file with holes: it takes no room on disk."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    from model.registry import OURS
    from model.weights.writing import safetensors_header

    config = shape.config
    network = OURS[config.model_type](config)
    if config.quantization:
        packing = config.quantization.default
        packs = getattr(network, "quant_predicate", lambda path, module: True)
        nn.quantize(
            network,
            group_size=packing.group_size,
            bits=packing.bits,
            class_predicate=lambda path, module: hasattr(module, "to_quantized") and packs(path, module),
        )
    parts = []
    for name, array in tree_flatten(network.parameters()):  # never evaluated
        dtype, width = ("U32", 4) if array.dtype == mx.uint32 else ("BF16", 2)
        parts.append((name, dtype, array.shape, array.size * width))
    (folder / "config.json").write_text(json.dumps({**BASE, **shape.fields}))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(safetensors_header(parts))
        file.truncate(file.tell() + sum(size for *_, size in parts))


def _beside(mx: Any, gpu: bool, peak: int) -> int:
    if not gpu or sys.platform == "darwin":
        unit = 1 if sys.platform == "darwin" else 1024
        return max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - peak)
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    used = {pid.strip(): size.strip() for pid, _, size in (line.partition(",") for line in listed.splitlines())}
    mine = used.get(str(os.getpid()), "")
    if not mine.isdigit():  # in a container pids are others: then the whole device is asked
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        mine = subprocess.run(query, capture_output=True, text=True, check=False).stdout.partition("\n")[0].strip()
    total = int(mine) * 1024**2 if mine.isdigit() else 0
    return max(0, total - int(mx.get_active_memory()) - int(mx.get_cache_memory()))


# --- the table ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", help="by default all the small ones")
    parser.add_argument("--large", action="store_true", help="published shapes too; for a GPU")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    shapes = SHAPES | LARGE
    if asked.child:
        print(json.dumps(vars(_talk(shapes[asked.shapes[0]]))))
        return
    lines = []
    head = ("foretold", "measured", "ratio", "weights", "held", "workspace", "measured")
    print(f"{'MiB':<18}" + "".join(f"{name:>10}" for name in head))
    for name in asked.shapes or [*SHAPES, *(LARGE if asked.large else ())]:
        try:
            measured = measure(name)
        except RuntimeError as error:
            print(f"{name:<18} failed: {str(error).splitlines()[-1]}", flush=True)
            continue
        back_end = back_end_of(measured)
        told = foretold(shapes[name], back_end)
        sizes = (told.weights, told.kv + told.state, told.workspace, measured.peak - measured.weights - measured.held)
        print(
            f"{name:<18}{told.total / 2**20:>10,.1f}{measured.peak / 2**20:>10,.1f}{told.total / measured.peak:>10.3f}"
            + "".join(f"{size / 2**20:>10,.1f}" for size in sizes),
            flush=True,
        )
        lines.append({"shape": name, "foretold": told._asdict(), "measured": vars(measured)})
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1:])
