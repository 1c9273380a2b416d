"""A repository with a tiny model: the files that are read, and some that are not."""

import json
import os

REPO = "someone/Tiny-4bit"
_SHAPE = {
    "model_type": "qwen2",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 16,
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FILES = {
    "config.json": json.dumps(_SHAPE).encode(),
    "tokenizer.json": b"{}" * 200,
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode(),
    FIRST: os.urandom(100_000),
    SECOND: os.urandom(3_000_000),
}
TOTAL = sum(map(len, FILES.values()))
UNWANTED = {
    "modeling.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": b"again",
    ".gitattributes": b"*.safetensors filter=lfs",
    "onnx/model.json": b"{}",
}
