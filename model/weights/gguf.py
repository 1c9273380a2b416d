"""GGUF files, converted once into a checkpoint folder that opens like any other.

Opening a GGUF file takes seconds, a converted one a fraction; so each file is converted when it is first
used and kept by its identity. The conversion loses nothing: Q4_1 and Q8_0 blocks are MLX's affine
quantisation with groups of 32, only packed differently. It runs in numpy and knows no MLX.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader

from model.errors import ModelError
from model.weights.gguf_header import StoredTensor, check, check_extent
from model.weights.gguf_tokenizer import tokenizer_json
from model.weights.safetensors import read_header, short

SCHEMA = 1
"""Raised whenever the same file would be converted to something else than before."""

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
GROUP = 32
"""Weights that share a scale, in both of ggml's types here."""

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

_Q4_1, _Q8_0 = int(GGMLQuantizationType.Q4_1), int(GGMLQuantizationType.Q8_0)
_BITS = {_Q4_1: 4, _Q8_0: 8}
_FLOATS = {int(GGMLQuantizationType.F32): ("F32", "<f4"), int(GGMLQuantizationType.F16): ("F16", "<f2")}

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def convert(path: Path, conversions: Path, progress: Progress) -> Path:
    """The checkpoint folder of a GGUF file: the one made before, or a new one below `conversions`.

    `progress(done, total)` counts tensors; it is not called where nothing has to be done. Any number of
    processes may convert at once: one does, the others wait and use the result. ModelError, one sentence.
    """
    try:
        identity = _identity(path)
        folder = conversions / _folder_name(path, identity)
        if _complete(folder):
            return folder
        tensors, start = check(path)
        plan = _plan(path, tensors, start)
        with _alone(conversions):
            if _complete(folder):
                return folder
            _convert(path, plan, folder, progress, identity)
    except OSError as error:
        raise ModelError(f"{path} cannot be converted into {conversions}: {error.strerror or error}") from None
    return folder


# --- the folder ---------------------------------------------------------------------------------------------


def _identity(path: Path) -> str:
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a NUL in the name
        raise ModelError(f"{path} does not exist; give the path of a GGUF file") from None
    status = resolved.stat()
    return f"{SCHEMA}\0{resolved}\0{status.st_size}\0{status.st_mtime_ns}"


def _folder_name(path: Path, identity: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.")[:80]
    return f"{readable or 'model'}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]}"


def _complete(folder: Path) -> bool:
    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        read_header(folder / "model.safetensors")
    except ModelError:
        return False
    return True


@contextmanager
def _alone(conversions: Path) -> Iterator[None]:
    """Holds the one lock of the folder; whatever half-made folder is found under it belongs to a dead run."""
    conversions.mkdir(parents=True, exist_ok=True, mode=0o700)
    conversions.chmod(0o700)
    descriptor = os.open(conversions / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in conversions.glob(".*.unfinished"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _convert(path: Path, plan: "_Plan", folder: Path, progress: Progress, identity: str) -> None:
    needed = sum(size for _, _, _, size in plan.layout()) + 32 * 1024 * 1024
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise ModelError(f"{path} needs {needed >> 20} MiB in {folder.parent}, where {free >> 20} are free; make room")
    progress(0, len(plan.tensors))
    try:
        reader: Any = GGUFReader(path)
        metadata = _Metadata(path, reader)
        settings = _settings(path, plan, metadata)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, UnicodeError) as error:
        raise ModelError(f"{path} has a damaged header ({short(str(error))}); download it again") from None
    unfinished = folder.parent / f".{folder.name}.unfinished"
    unfinished.mkdir(mode=0o700)
    try:
        with _new_file(unfinished / "model.safetensors") as file:
            data = {tensor.name: tensor.data for tensor in reader.tensors}
            _write_weights(file, plan, data, settings["config.json"], progress)
        for name, content in settings.items():
            with _new_file(unfinished / name) as file:
                text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
                file.write(text.encode())
        if _identity(path) != identity:
            raise ModelError(f"{path} changed while it was read; try again when it is complete")
        shutil.rmtree(folder, ignore_errors=True)  # whatever stands there is damaged
        unfinished.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextmanager
def _new_file(path: Path) -> Iterator[Any]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- weights ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What becomes of each tensor: our name for it, without `.weight` where it is quantised."""

    tensors: dict[str, StoredTensor]

    def layout(self) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
        """(name, dtype, shape, bytes) of each tensor to be written, in order."""
        for name, tensor in self.tensors.items():
            if tensor.kind in _FLOATS:
                dtype, code = _FLOATS[tensor.kind]
                yield name, dtype, tensor.shape, int(np.prod(tensor.shape)) * int(code[2])
                continue
            rows, columns = tensor.shape
            module = name.removesuffix("weight")
            bits = _BITS[tensor.kind]
            yield name, "U32", (rows, columns * bits // 32), rows * columns * bits // 8
            for part in ("scales", "biases"):
                yield module + part, "F16", (rows, columns // GROUP), rows * columns // GROUP * 2


def _plan(path: Path, tensors: list[StoredTensor], start: int) -> _Plan:
    planned = {}
    for tensor in tensors:
        try:
            kind = GGMLQuantizationType(tensor.kind)
        except ValueError:
            raise ModelError(
                f"{path} stores {short(tensor.name)} as type {tensor.kind}, which is unknown here; "
                "use a Q4_1 or Q8_0 file of this model",
                "unsupported",
            ) from None
        if tensor.kind not in _FLOATS and (tensor.kind not in _BITS or len(tensor.shape) != 2):
            raise ModelError(
                f"{path} stores {short(tensor.name)} as {kind.name}, which is not supported yet; "
                "use a Q4_1 or Q8_0 file of this model, or a version of it made for MLX",
                "unsupported",
            )
        block, size = GGML_QUANT_SIZES[kind]
        if tensor.shape[-1] % block:
            raise ModelError(
                f"{path}: rows of {short(tensor.name)} are {tensor.shape[-1]} long, not blocks of {block}; "
                "download it again"
            )
        elements = 1
        for n in tensor.shape:
            elements *= n
        check_extent(path, tensor.name, start + tensor.offset + elements // block * size)
        planned[_our_name(path, tensor.name)] = tensor
    return _Plan(planned)


def _our_name(path: Path, name: str) -> str:
    stem, _, part = name.rpartition(".")
    layer = re.fullmatch(r"blk\.(\d{1,5})\.(\w+)", stem)
    if part == "weight" and stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    if layer and layer[2] in _IN_LAYER and part in ("weight", "bias"):
        return f"model.layers.{int(layer[1])}.{_IN_LAYER[layer[2]]}.{part}"
    raise ModelError(
        f"{path} holds the tensor {short(name)}, which no architecture supported here has; "
        "look for a version of this model made for MLX",
        "unsupported",
    )


def _write_weights(file: Any, plan: _Plan, data: dict[str, Array], config: dict[str, Any], progress: Progress) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    at = 0
    for name, dtype, shape, size in plan.layout():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for done, (name, tensor) in enumerate(plan.tensors.items(), 1):
        rows = data[tensor.name]
        module = name.split(".")[-2]
        if config["model_type"] == "llama" and module in heads:
            rows = unpermuted(rows, heads[module])
        if tensor.kind in _FLOATS:
            file.write(np.ascontiguousarray(rows, dtype=_FLOATS[tensor.kind][1]).data)
        else:
            for array in (q4_1 if tensor.kind == _Q4_1 else q8_0)(rows):
                file.write(array.data)
        progress(done, len(plan.tensors))


def unpermuted(rows: Array, heads: int) -> Array:
    """Rows of a q or k projection in transformers' order; llama.cpp interleaves the halves of each head.

    Works on whatever a row holds, (heads * head_dim, anything), so weights, scales and biases move together.
    Inverse of `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py.
    """
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def q4_1(rows: Array) -> tuple[Array, Array, Array]:
    """Q4_1 rows (rows, bytes) as MLX's 4 bits in groups of 32: weights uint32, scales and biases float16.

    A block: scale, minimum, then 16 bytes, the first half of the weights in their low nibbles, the second
    in the high ones. MLX packs neighbours together, the first lowest. Both mean scale * weight + minimum.
    """
    blocks = np.ascontiguousarray(rows, dtype=np.uint8).reshape(len(rows), -1, 20)
    halves = blocks[..., :4].copy().view("<f2")
    nibbles = blocks[..., 4:]
    packed = np.empty((*blocks.shape[:2], 16), np.uint8)
    packed[..., :8] = (nibbles[..., 0::2] & 15) | (nibbles[..., 1::2] << 4)
    packed[..., 8:] = (nibbles[..., 0::2] >> 4) | (nibbles[..., 1::2] & 0xF0)
    scales, biases = np.ascontiguousarray(halves[..., 0]), np.ascontiguousarray(halves[..., 1])
    return packed.reshape(len(rows), -1).view("<u4"), scales, biases


def q8_0(rows: Array) -> tuple[Array, Array, Array]:
    """Q8_0 rows (rows, bytes) as MLX's 8 bits in groups of 32: weights uint32, scales and biases float16.

    A block: scale, then 32 signed bytes. MLX's are unsigned, so each goes up by 128 and the bias takes it
    back.
    """
    blocks = np.ascontiguousarray(rows, dtype=np.uint8).reshape(len(rows), -1, 34)
    scales = np.ascontiguousarray(blocks[..., :2].copy().view("<f2")[..., 0])
    packed = blocks[..., 2:] ^ 0x80
    with np.errstate(over="ignore"):  # weights beyond 65504 are infinite in float16 whatever one does
        biases = (scales * np.float16(-128)).astype("<f2")
    return packed.reshape(len(rows), -1).view("<u4"), scales, biases


# --- settings -----------------------------------------------------------------------------------------------


class _Metadata:
    """The header's values, by name and type."""

    def __init__(self, path: Path, reader: Any) -> None:
        self.path = path
        self._reader = reader

    def _get(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def text(self, key: str) -> str | None:
        value = self._get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        value = self._get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def number(self, key: str) -> float | None:
        value = self._get(key)
        # Stored in single precision: 9.999999747378752e-06 was written as 1e-05.
        return None if not isinstance(value, (int, float)) else float(str(np.float32(value)))

    def flag(self, key: str) -> bool:
        return self._get(key) is True

    def items(self, key: str) -> list[Any]:
        value = self._get(key)
        return value if isinstance(value, list) else []

    def needed(self, key: str) -> int:
        value = self.whole(key)
        if not value:
            raise ModelError(f"{self.path} does not say {key}; download it again, or use another version of it")
        return value


def _settings(path: Path, plan: _Plan, metadata: _Metadata) -> dict[str, Any]:
    """Every file of the folder but the weights, by name."""
    config = _config(path, plan, metadata)
    tokens: list[str] = metadata.items("tokenizer.ggml.tokens")
    rows = config["vocab_size"]
    if len(tokens) > rows:
        raise ModelError(f"{path} has {len(tokens)} tokens and weights for {rows}; download it again")
    vocabulary = tokenizer_json(
        path,
        kind=metadata.text("tokenizer.ggml.model"),
        splitting=metadata.text("tokenizer.ggml.pre") or "default",
        tokens=tokens,
        types=metadata.items("tokenizer.ggml.token_type"),
        merges=metadata.items("tokenizer.ggml.merges"),
    )
    try:
        tokenizers.Tokenizer.from_str(vocabulary)
    except Exception as error:  # the library raises plain Exception
        raise ModelError(f"{path} has a damaged vocabulary ({short(str(error))}); download it again") from None

    ids = {
        role: id
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if (id := metadata.whole(f"tokenizer.ggml.{key}_token_id")) is not None and id < len(tokens)
    }
    ends = [id for id in (ids.get("eos"), metadata.whole("tokenizer.ggml.eot_token_id")) if id is not None]
    ends = [id for id in dict.fromkeys(ends) if id < len(tokens)]
    generation: dict[str, Any] = {f"{role}_token_id": ids[role] for role in ("bos", "pad") if role in ids}
    if ends:
        config["eos_token_id"] = generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    described: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "add_bos_token": metadata.flag("tokenizer.ggml.add_bos_token"),
        **{f"{role}_token": tokens[id] for role, id in ids.items()},
    }
    template = metadata.text("tokenizer.chat_template")
    if template is not None:
        described["chat_template"] = template
    return {
        "config.json": config,
        "generation_config.json": generation,
        "tokenizer.json": vocabulary,
        "tokenizer_config.json": described,
    }


def _config(path: Path, plan: _Plan, metadata: _Metadata) -> dict[str, Any]:
    """config.json, with the names of transformers and mlx-lm."""
    kind = metadata.text("general.architecture") or "nothing"
    if kind not in _CLASSES:
        raise ModelError(
            f"{path} is a model of architecture {short(kind)}; of GGUF files llama and qwen2 are supported, "
            "look for a version of this model made for MLX",
            "unsupported",
        )
    if (metadata.whole("split.count") or 1) > 1:
        raise ModelError(f"{path} is one part of several; merge them with llama.cpp's gguf-split first", "unsupported")
    if metadata.whole(f"{kind}.expert_count"):
        raise ModelError(f"{path} is a mixture of experts; use a version of it made for MLX", "unsupported")
    layers, heads = metadata.needed(f"{kind}.block_count"), metadata.needed(f"{kind}.attention.head_count")
    hidden = metadata.needed(f"{kind}.embedding_length")
    head_size = metadata.whole(f"{kind}.attention.key_length") or hidden // heads
    if metadata.whole(f"{kind}.rope.dimension_count") not in (None, head_size):
        raise ModelError(f"{path} rotates only part of each head, which is not supported", "unsupported")
    config: dict[str, Any] = {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": metadata.needed(f"{kind}.feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.whole(f"{kind}.attention.head_count_kv") or heads,
        "max_position_embeddings": metadata.needed(f"{kind}.context_length"),
        "rms_norm_eps": metadata.number(f"{kind}.attention.layer_norm_rms_epsilon") or 1e-5,
        "rope_theta": metadata.number(f"{kind}.rope.freq_base") or 10_000.0,
        "tie_word_embeddings": "lm_head.weight" not in plan.tensors,
        "hidden_act": "silu",
        "torch_dtype": "float16",
    }
    if head_size != hidden // heads:
        config["head_dim"] = head_size
    scaling = _rope_scaling(path, kind, metadata)
    if scaling:
        config["rope_scaling"] = scaling
    _check_names(path, plan, config)
    config["vocab_size"] = plan.tensors["model.embed_tokens.weight"].shape[0]
    if quantization := _quantization(plan):
        config["quantization"] = quantization
    return config


def _rope_scaling(path: Path, kind: str, metadata: _Metadata) -> dict[str, Any] | None:
    form = metadata.text(f"{kind}.rope.scaling.type") or "none"
    if form == "none":
        return None
    factor = metadata.number(f"{kind}.rope.scaling.factor")
    if form not in ("linear", "yarn") or not factor:
        raise ModelError(f"{path} stretches its context by {short(form)}, which is not supported", "unsupported")
    scaling: dict[str, Any] = {"rope_type": form, "type": form, "factor": factor}
    if form == "yarn" and (trained := metadata.whole(f"{kind}.rope.scaling.original_context_length")):
        scaling["original_max_position_embeddings"] = trained
    return scaling


def _check_names(path: Path, plan: _Plan, config: dict[str, Any]) -> None:
    """Every tensor that the architecture needs is there, none beyond, and q and k divide into heads."""
    biased = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj") if config["model_type"] == "qwen2" else ()
    needed = {"model.embed_tokens.weight", "model.norm.weight"}
    for layer in range(config["num_hidden_layers"]):
        names = {f"model.layers.{layer}.{module}.weight" for module in _IN_LAYER.values()}
        names |= {f"model.layers.{layer}.{module}.bias" for module in biased}
        if missing := sorted(names - plan.tensors.keys()):  # at the first such layer: a header may announce millions
            raise ModelError(f"{path} lacks the tensor {missing[0]}; download it again")
        needed |= names
    for name in sorted(needed - plan.tensors.keys()):
        raise ModelError(f"{path} lacks the tensor {name}; download it again")
    for name in sorted(plan.tensors.keys() - needed - {"lm_head.weight"}):
        raise ModelError(f"{path} holds {name}, which a {config['model_type']} model does not have", "unsupported")
    for name, tensor in plan.tensors.items():
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads and tensor.shape[0] % (2 * config[heads]):
            raise ModelError(f"{path}: {name} does not divide into {config[heads]} heads; download it again")


def _quantization(plan: _Plan) -> dict[str, Any] | None:
    """MLX's settings: those of most layers, and by name those of the others."""
    bits = {name: _BITS[tensor.kind] for name, tensor in plan.tensors.items() if tensor.kind in _BITS}
    if not bits:
        return None
    ((most, _),) = Counter(bits.values()).most_common(1)
    others = {name.removesuffix(".weight"): {"group_size": GROUP, "bits": n} for name, n in bits.items() if n != most}
    return {"group_size": GROUP, "bits": most, **others}
