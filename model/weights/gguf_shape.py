"""What the header of a GGUF file says about its model: the shape as a config.json has it, and our names of its tensors.

It knows the architectures that are converted. It reads no weights and runs without numpy: the window asks it too.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.errors import ModelError
from model.weights.gguf_header import Header, StoredTensor, check_extent
from model.weights.gguf_types import TYPES, BlockType, Packing, packing
from model.weights.safetensors import short

ROPE_FACTORS = "rope_freqs.weight"
"""What each rotation's wavelength is multiplied by; llama.cpp stores Llama 3's stretching as this tensor."""

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""By llama.cpp's names, which are transformers' model types too. Mistral is a llama to both."""

_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What all published Llama 3 configurations have in common; they differ in the factor."""


def our_name(path: Any, name: str) -> str:
    """transformers' name of a tensor. ModelError where no architecture here has one of this name."""
    stem, _, part = name.rpartition(".")
    layer = re.fullmatch(r"blk\.(\d{1,5})\.(\w+)", stem)
    if part == "weight" and stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    if layer and layer[2] in _IN_LAYER and part in ("weight", "bias"):
        return f"model.layers.{int(layer[1])}.{_IN_LAYER[layer[2]]}.{part}"
    if layer and "_exps" in layer[2]:
        raise ModelError(f"{path} is a mixture of experts; use a version of it made for MLX", "unsupported")
    raise ModelError(
        f"{path} holds the tensor {short(name)}, which no architecture supported here has; "
        "look for a version of this model made for MLX",
        "unsupported",
    )


def interleaved_heads(config: Mapping[str, Any], name: str) -> int:
    """The heads among which llama.cpp has interleaved the rows of this tensor; 0 where it has not."""
    module = name.split(".")[-2]
    if config["model_type"] != "llama" or module not in ("q_proj", "k_proj"):
        return 0
    return int(config["num_attention_heads" if module == "q_proj" else "num_key_value_heads"])


def block_type(header: Header, tensor: StoredTensor) -> BlockType:
    """A tensor's type, once its rows are whole blocks that lie within the file. ModelError where they cannot be."""
    path = header.path
    if (kind := TYPES.get(tensor.kind)) is None:
        raise ModelError(
            f"{path} stores {short(tensor.name)} as type {tensor.kind}, which is unknown here; use a Q8_0 or Q4_K_M "
            "file of this model, or a version of it made for MLX",
            "unsupported",
        )
    if tensor.shape[-1] % kind.block:
        raise ModelError(
            f"{path}: rows of {short(tensor.name)} are {tensor.shape[-1]} long, not blocks of {kind.block}; "
            "download it again"
        )
    check_extent(path, tensor.name, header.start + tensor.offset + math.prod(tensor.shape) // kind.block * kind.size)
    return kind


def architecture(header: Header) -> str:
    """The architecture, where a whole model of it is in the file and it is one that is converted. ModelError else."""
    path, kind = header.path, header.text("general.architecture") or "nothing"
    if kind not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise ModelError(
            f"{path} holds a model of the architecture {short(kind)}; converted are {known}, so use a version of it "
            "made for MLX",
            "unsupported",
        )
    if (header.whole("split.count") or 1) > 1:
        raise ModelError(f"{path} is one part of several; merge them with llama.cpp's gguf-split first", "unsupported")
    if header.whole(f"{kind}.expert_count"):
        raise ModelError(f"{path} is a mixture of experts; use a version of it made for MLX", "unsupported")
    return kind


def fields_of(header: Header) -> dict[str, Any]:
    """config.json as the conversion writes it, from the header alone. ModelError where there is none.

    What only the weights tell is left out: how Llama 3's rope is stretched, which costs nothing.
    """
    architecture(header)
    for tensor in header.tensors:
        block_type(header, tensor)
    tensors = {our_name(header.path, tensor.name): tensor for tensor in weights(header)}
    forms = {name: form for name, tensor in tensors.items() if (form := _form(tensor))}
    return config_of(header, {name: tensor.shape for name, tensor in tensors.items()}, forms, None)


def converted_bytes(header: Header) -> int:
    """Bytes of the weights once they are converted: scales and biases in float16, plain numbers as they are.

    All tensors must be of `TYPES`: `fields_of` sees to that.
    """
    total = 0
    for tensor in weights(header):
        elements, form = math.prod(tensor.shape), _form(tensor)
        if form is None:
            kind = TYPES[tensor.kind]
            total += elements * (kind.size if kind.block == 1 else 4)
        else:
            total += elements * form.bits // 8 + elements // form.group * 4
    return total


def weights(header: Header) -> Iterator[StoredTensor]:
    """Its tensors, but for the one that is a setting."""
    return (tensor for tensor in header.tensors if tensor.name != ROPE_FACTORS)


def _form(tensor: StoredTensor) -> Packing | None:
    return packing(tensor.kind, tensor.shape[1], None) if len(tensor.shape) == 2 else None


def config_of(
    header: Header,
    shapes: Mapping[str, tuple[int, ...]],
    forms: Mapping[str, Packing],
    rope_factors: Sequence[float] | None,
) -> dict[str, Any]:
    """config.json, once every tensor that it asks for is there in its shape. ModelError where not.

    `shapes` and `forms` by our names; `rope_factors` (head_dim / 2,), if the file has them.
    """
    path, kind = header.path, architecture(header)
    heads = header.needed(f"{kind}.attention.head_count", 4096)
    hidden = header.needed(f"{kind}.embedding_length", 1 << 18)
    head_size = header.whole(f"{kind}.attention.key_length") or hidden // heads
    if header.whole(f"{kind}.rope.dimension_count") not in (None, head_size):
        raise ModelError(f"{path} rotates only part of each head, which is not supported", "unsupported")
    if header.whole(f"{kind}.attention.value_length") not in (None, head_size):
        raise ModelError(f"{path} has values longer than its keys, which is not supported", "unsupported")
    kv_heads = f"{kind}.attention.head_count_kv"
    config: dict[str, Any] = {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": header.needed(f"{kind}.feed_forward_length", 1 << 22),
        "num_hidden_layers": header.needed(f"{kind}.block_count", 4096),
        "num_attention_heads": heads,
        "num_key_value_heads": header.needed(kv_heads, 4096) if kv_heads in header.values else heads,
        "max_position_embeddings": header.needed(f"{kind}.context_length", 1 << 30),
        "rms_norm_eps": header.number(f"{kind}.attention.layer_norm_rms_epsilon") or 1e-5,
        "rope_theta": header.number(f"{kind}.rope.freq_base") or 10_000.0,
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "hidden_act": "silu",
        "torch_dtype": "float16",
    }
    if not all(math.isfinite(config[key]) and config[key] > 0 for key in ("rms_norm_eps", "rope_theta")):
        raise ModelError(f"{path} has a damaged header (impossible rope or norm settings); download it again")
    if kind == "qwen3" or head_size * heads != hidden:
        config["head_dim"] = head_size
    scaling = _rope_scaling(header, kind) or _llama3_scaling(header, config["rope_theta"], head_size, rope_factors)
    if scaling:
        config["rope_scaling"] = scaling
    config["vocab_size"] = shapes.get("model.embed_tokens.weight", (0,))[0]
    _check_tensors(header, shapes, config, head_size)
    if quantization := _quantization(forms):
        config["quantization"] = quantization
    return config


def _rope_scaling(header: Header, kind: str) -> dict[str, Any] | None:
    form = header.text(f"{kind}.rope.scaling.type") or "none"
    if form == "none":
        return None
    factor = header.number(f"{kind}.rope.scaling.factor")
    if form not in ("linear", "yarn") or not factor:
        raise ModelError(f"{header.path} stretches its context by {short(form)}, which is not supported", "unsupported")
    scaling: dict[str, Any] = {"rope_type": form, "type": form, "factor": factor}
    if form == "yarn" and (trained := header.whole(f"{kind}.rope.scaling.original_context_length")):
        scaling["original_max_position_embeddings"] = trained
    return scaling


def _llama3_scaling(
    header: Header, theta: float, head_size: int, factors: Sequence[float] | None
) -> dict[str, Any] | None:
    """The settings that give these factors, if those of Llama 3 do."""
    if factors is None or all(factor == 1 for factor in factors):
        return None
    scaling = {"rope_type": "llama3", "type": "llama3", "factor": max(factors), **_LLAMA3}
    if len(factors) == head_size // 2 and all(map(_close, llama3_factors(theta, head_size, scaling), factors)):
        return scaling
    raise ModelError(
        f"{header.path} stretches its context by factors that are not Llama 3's, which is not supported; use a version "
        "of this model made for MLX",
        "unsupported",
    )


def llama3_factors(theta: float, head_size: int, scaling: Mapping[str, Any]) -> list[float]:
    """(head_dim / 2,): how much longer each wavelength gets (transformers, `_compute_llama3_parameters`)."""
    low, high, factor = (scaling[key] for key in ("low_freq_factor", "high_freq_factor", "factor"))
    factors = []
    for pair in range(0, head_size, 2):
        wavelength = 2 * math.pi * theta ** (pair / head_size)
        turns = scaling["original_max_position_embeddings"] / wavelength
        smooth = min(max((turns - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _close(meant: float, stored: float) -> bool:
    return math.isclose(meant, stored, rel_tol=1e-3)


def _check_tensors(
    header: Header, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], head_size: int
) -> None:
    """Every tensor that the architecture needs is there in its shape, and none beyond."""
    path = header.path
    left = set(shapes)
    for name, shape in _needed(config, head_size):  # stops at the first: a header may announce many
        if name not in shapes:
            raise ModelError(f"{path} lacks the tensor {name}; download it again")
        if shapes[name] != shape:
            raise ModelError(
                f"{path}: {name} has the shape {list(shapes[name])}, not {list(shape)} as its header's other values "
                "ask for; download it again"
            )
        left.remove(name)
    for name in sorted(left):
        raise ModelError(f"{path} holds {name}, which a {config['model_type']} model does not have", "unsupported")


def _needed(config: Mapping[str, Any], head_size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner, rows = (config[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    queries, keys = (config[key] * head_size for key in ("num_attention_heads", "num_key_value_heads"))
    yield "model.embed_tokens.weight", (rows, hidden)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (rows, hidden)
    for n in range(config["num_hidden_layers"]):
        layer = f"model.layers.{n}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{name}.weight", (hidden,)
        for name, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield f"{layer}.self_attn.{name}.weight", (size, hidden)
            if config["model_type"] == "qwen2":
                yield f"{layer}.self_attn.{name}.bias", (size,)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, queries)
        if config["model_type"] == "qwen3":
            for name in ("q_norm", "k_norm"):
                yield f"{layer}.self_attn.{name}.weight", (head_size,)
        for name in ("gate_proj", "up_proj"):
            yield f"{layer}.mlp.{name}.weight", (inner, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)


def _quantization(forms: Mapping[str, Packing]) -> dict[str, Any] | None:
    """MLX's settings: those of most layers, and by name those of the others."""
    if not forms:
        return None
    ((most, _),) = Counter(forms.values()).most_common(1)

    def described(form: Packing) -> dict[str, Any]:
        return {"group_size": form.group, "bits": form.bits}

    others = {name.removesuffix(".weight"): described(form) for name, form in forms.items() if form != most}
    return {**described(most), **others}
