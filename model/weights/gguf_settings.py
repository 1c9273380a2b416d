"""What a GGUF file says about its model beside the weights, as the small files of a checkpoint folder.

Its vocabulary, the ids of special tokens and the chat template, next to the shape that `gguf_shape` has read.
"""

from typing import Any

from model.backends import read_library
from model.errors import ModelError
from model.weights.gguf_header import Header
from model.weights.gguf_tokenizer import Vocabulary, tokenizer_json


def settings_of(header: Header, config: dict[str, Any]) -> dict[str, Any]:
    """Every file of the folder but the weights, by name; config.json with the ids that end an answer."""
    path = header.path
    vocabulary = Vocabulary.of(header)
    tokens, rows = vocabulary.tokens, config["vocab_size"]
    if len(tokens) > rows:
        raise ModelError(f"{path} has {len(tokens)} tokens and weights for {rows}; download it again")
    text = tokenizer_json(path, vocabulary)
    try:
        read_library(text)
    except ValueError as error:
        raise ModelError(f"{path} has a damaged vocabulary ({error}); download it again") from None

    ids = {
        role: id
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if (id := header.whole(f"tokenizer.ggml.{key}_token_id")) is not None and id < len(tokens)
    }
    ends = [id for id in (ids.get("eos"), header.whole("tokenizer.ggml.eot_token_id")) if id is not None]
    ends = [id for id in dict.fromkeys(ends) if id < len(tokens)]
    generation: dict[str, Any] = {f"{role}_token_id": ids[role] for role in ("bos", "pad") if role in ids}
    if ends:
        config["eos_token_id"] = generation["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    described: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "add_bos_token": header.flag("tokenizer.ggml.add_bos_token"),
        **{f"{role}_token": tokens[id] for role, id in ids.items()},
    }
    template = header.text("tokenizer.chat_template")
    if template is not None:
        described["chat_template"] = template
    return {
        "config.json": config,
        "generation_config.json": generation,
        "tokenizer.json": text,
        "tokenizer_config.json": described,
    }
