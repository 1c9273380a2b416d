"""What the document of the challengers says of sizes is what the shapes give, and its commands are understood."""

import re
import shlex

import pytest
import typer.main

from app.benching.scaling import networks
from app.cli.main import app
from app.words import size
from model.config import RecurrentConfig, TransformerConfig, parse_config
from model.facts import kv_bytes, kv_bytes_as, kv_bytes_per_token, state_bytes
from tests.documents import DOCUMENTS, tables

PAGE = (DOCUMENTS / "challengers.md").read_text()
PROSE = " ".join(PAGE.split())
FLOAT32 = 4
QWEN2_7B = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
RWKV7_7B = {"model_type": "rwkv7", "vocab_size": 65536, "hidden_size": 4096, "num_hidden_layers": 32}


@pytest.fixture
def qwen2() -> TransformerConfig:
    return parse_config(QWEN2_7B, "Qwen2-7B")


@pytest.fixture
def rwkv7() -> RecurrentConfig:
    return parse_config(RWKV7_7B, "RWKV-7")


@pytest.mark.parametrize("line", re.findall("^quietly (.+)$", PAGE, re.MULTILINE))
def test_its_commands_are_understood(line: str) -> None:
    name, *options = shlex.split(line)
    assert typer.main.get_command(app).commands[name].make_context(name, options).params


def test_seven_billion_keep_what_their_shapes_say(qwen2: TransformerConfig, rwkv7: RecurrentConfig) -> None:
    (rows,) = [table for table in tables(PAGE) if "RWKV-7 7.2B" in table[0]]
    for row in rows:
        tokens, *shown = row.values()
        length = int(tokens.replace(",", ""))
        kept = state_bytes(rwkv7), kv_bytes(qwen2, length), kv_bytes_as(qwen2, "MHA", length)
        assert shown == [size(count) for count in kept]
    equal = state_bytes(rwkv7) / kv_bytes_per_token(qwen2)
    assert f"equal at {equal:.0f} tokens" in PROSE


def test_what_the_small_ones_keep_is_what_their_shapes_say() -> None:
    attention, _, rwkv7 = (parse_config(fields, name) for name, fields in networks(gpu=False).items())
    kept = PAGE.partition("Kept of it")[2].partition("each more")[0]
    rows = re.findall(r"^ +([\d,]+) +(\d\S* \S+) +\d\S* \S+ +(\d\S* \S+)$", kept, re.MULTILINE)
    assert len(rows) == 7
    for tokens, *shown in rows:
        length = int(tokens.replace(",", ""))
        assert shown == [size(kv_bytes(attention, length, FLOAT32)), size(state_bytes(rwkv7, FLOAT32))]
    assert f"takes for {state_bytes(rwkv7, FLOAT32) // kv_bytes_per_token(attention, FLOAT32)} tokens" in PROSE
