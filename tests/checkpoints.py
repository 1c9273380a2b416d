"""Small checkpoints for tests, written as anyone's would be: a folder with config.json and model.safetensors."""

import itertools
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

GOLDEN = Path(__file__).with_name("golden")

TINY_QWEN2: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}


def write_checkpoint(folder: Path, config: dict[str, Any], weights: dict[str, mx.array]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


def golden_checkpoint(case: str, folder: Path) -> Path:
    """The golden model `case` with its weights made by their recipe (tests/golden/README.md)."""
    weights = {name: mx.array(array) for name, array in golden_weights(case).items()}
    return write_checkpoint(folder, json.loads((GOLDEN / case / "config.json").read_text()), weights)


def golden_weights(case: str) -> dict[str, np.ndarray]:
    recipes = json.loads((GOLDEN / case / "weights.json").read_text())
    return {name: _draw(recipe) for name, recipe in recipes.items()}


def _draw(recipe: dict[str, Any]) -> np.ndarray:
    random = np.random.RandomState(recipe["seed"])
    draw = random.standard_normal if recipe["dist"] == "normal" else random.random_sample
    values = recipe["offset"] + recipe["scale"] * draw(tuple(recipe["shape"]))
    return values.astype(np.float32)


def random_checkpoint(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint of the Qwen2 shape with random weights; `changes` go over `TINY_QWEN2`, another `model_type` too."""
    config = {**TINY_QWEN2, **changes}
    random = np.random.RandomState(seed)
    weights = {name: mx.array(_initial(name, parameter.shape, random)) for name, parameter in _parameters(config)}
    return write_checkpoint(folder, config, weights)


def _parameters(config: dict[str, Any]) -> list[tuple[str, mx.array]]:
    """What a model of this configuration is made of, by name."""
    from mlx.utils import tree_flatten

    from model.config import parse_config
    from model.registry import OURS

    network = OURS[config["model_type"]](parse_config(config, "tiny"))
    return [(name, parameter) for name, parameter in tree_flatten(network.parameters())]


def _initial(name: str, shape: tuple[int, ...], random: np.random.RandomState) -> np.ndarray:
    norm = ("norm" in name or "ln" in name) and name.endswith("weight")
    offset = 1.0 if norm else 0.5 if "time_mix" in name else 0.0
    return (offset + 0.25 * random.standard_normal(shape)).astype(np.float32)


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def speaking_checkpoint(folder: Path, template: str = CHATML, **changes: Any) -> Path:
    """A random checkpoint that takes and gives text: a token a byte, two control tokens, a chat template.

    What it says means nothing, and ends only by chance.
    """
    random_checkpoint(folder, **{"vocab_size": 258, "max_position_embeddings": 4096, **changes})
    return _let_it_speak(folder, template, [])


def reciting_checkpoint(folder: Path, *pieces: bytes, template: str = CHATML, **changes: Any) -> Path:
    """A checkpoint that takes text as `speaking_checkpoint` does and answers with `pieces`, a token each, greedily.

    Each comes once: what follows a token depends on that token alone.
    """
    from model.detokenizer import BYTE_CHARACTERS

    assert len(set(pieces)) == len(pieces)
    spelled = ["".join(BYTE_CHARACTERS[byte] for byte in piece) for piece in pieces]
    _let_it_speak(folder, template, [text for text in spelled if len(text) > 1])
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    end = len(vocabulary) + 1
    order = [vocabulary[BYTE_CHARACTERS[ord("\n")]], *(vocabulary[text] for text in spelled), end]
    return recite(folder, order, end + 1, end, **changes)


def recite(folder: Path, order: list[int], size: int, end: int, **changes: Any) -> Path:
    """Write a network in which each token of `order` is followed by the next, greedily, and every other by `end`."""
    width = 320
    shape = {"vocab_size": size, "hidden_size": width, "num_hidden_layers": 1, "tie_word_embeddings": False}
    config = {**TINY_QWEN2, **shape, "max_position_embeddings": 4096, **changes}
    embedding, head = np.zeros((2, size, width), np.float32)
    embedding[np.arange(size), np.arange(size)] = 1
    head[end] = 1  # what is no piece is followed by the end
    for token, following in itertools.pairwise(order):
        head[:, token] = 0
        head[following, token] = 1
    weights = {
        name: mx.array(np.full(parameter.shape, 1.0 if "norm" in name else 0.0, np.float32))
        for name, parameter in _parameters(config)
    }
    weights |= {"model.embed_tokens.weight": mx.array(embedding), "lm_head.weight": mx.array(head)}
    return write_checkpoint(folder, config, weights)


def _let_it_speak(folder: Path, template: str, pieces: list[str]) -> Path:
    """Write a tokenizer with a token a byte, two control tokens, and `pieces`, which nobody's text becomes."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    vocabulary = {character: index for index, character in enumerate([*characters, *map(chr, range(256, 324))])}
    vocabulary |= {piece: 256 + index for index, piece in enumerate(pieces)}
    controls = [
        {"id": len(vocabulary) + index, "content": content, "special": True, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for index, content in enumerate(("<|im_start|>", "<|im_end|>"))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": controls,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "chat_template": template}))
    return folder
