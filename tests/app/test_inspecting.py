"""`quietly inspect`: figures from a configuration alone, for people and for programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app import inspecting
from app.errors import QuietlyError
from model.weights.gguf import convert
from model.weights.safetensors import shards
from tests.checkpoints import random_checkpoint

PUBLISHED = {
    "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"},
    "model_type": "qwen2",
    "vocab_size": 151646,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


@pytest.fixture
def config(tmp_path) -> Path:
    """A config.json with nothing beside it but the code that it names, which must not be run."""
    folder = tmp_path / "qwen2-7b"
    folder.mkdir()
    (folder / "modeling_qwen.py").write_text("raise SystemExit('it was run')")
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    return folder / "config.json"


def inspect(*arguments: object) -> str:
    command = [sys.executable, "-P", "-m", "app", "inspect", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_bare_config_is_told_in_figures(config):
    told = json.loads(inspect(config, "--json", "--context", 1000))
    parts = {row["part"]: row for row in told["composition"]}
    assert told["name"] == "qwen2-7b" and told["parameters"] == 7_612_620_288
    assert parts["embeddings"]["parameters"] == parts["head"]["parameters"] == 543_499_264
    assert parts["embeddings"]["nbytes"] == 1_086_998_528
    assert sum(row["nbytes"] for row in parts.values()) == told["bytes"] == 2 * told["parameters"]
    assert told["at"]["kv_bytes_per_token"] == 57_344 and told["at"]["kv_bytes"] == 57_344_000
    assert (told["at"]["kv_bytes_as_mha"], told["at"]["kv_bytes_as_mqa"]) == (401_408_000, 14_336_000)
    assert told["at"]["attention_pairs"] == 28 * 500_500
    assert told["attention"]["windows"] == [None] * 28


def test_people_see_the_parts_the_layers_and_the_cache(config):
    config.write_text(
        json.dumps({**PUBLISHED, "use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 21})
    )
    text = " ".join(inspect(config.parent).split())
    for wanted in (
        "7.6 B parameters (7,612,620,288)",
        "543,499,264 7.1%",
        "█████████████████████▄▄▄▄▄▄▄",
        "layers 21 to 27: ▄ the last 4,096 tokens",
        "GQA: 28 query heads, 4 KV heads of 128",
        "were it MHA 392 KiB",
        "of what full attention would look at",
    ):
        assert wanted in text, wanted


def test_the_starter_is_priced_as_it_lies_on_disk(starter, conversions):
    told = json.loads(inspect("starter", "--json"))
    (tensors,) = shards(convert(starter, conversions, lambda done, total: None)).values()
    stored = {name: info.nbytes for name, info in tensors.items() if "norm" not in name}  # GGUF keeps norms in float32
    priced = {row["part"]: row["nbytes"] for row in told["composition"] if row["part"] != "norms"}
    assert sum(priced.values()) == sum(stored.values())
    assert priced["embeddings"] == sum(size for name, size in stored.items() if "embed_tokens" in name)
    assert told["parameters"] == 134_515_008 and told["tied"] is True


@pytest.mark.parametrize("tied", [True, False])
def test_a_config_that_is_silent_about_its_head_is_read_with_the_weights_beside_it(tmp_path, tied):
    folder = random_checkpoint(tmp_path / "tiny", tie_word_embeddings=tied)
    fields = json.loads((folder / "config.json").read_text())
    del fields["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(fields))
    assert inspecting.inspect(str(folder), None, ()).tied is tied


def test_nothing_that_could_compute_is_loaded(config):
    code = (
        "import sys; from app import inspecting; inspecting.show(inspecting.inspect(sys.argv[1], None, ()));"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'mlx', 'mlx_lm', 'torch', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_what_cannot_be_told_is_one_sentence(config, tmp_path):
    with pytest.raises(QuietlyError, match=r"nowhere: config\.json is missing"):
        inspecting.inspect(str(tmp_path / "nowhere" / "config.json"), None, ())
    with pytest.raises(QuietlyError, match="There is no model nonsense here"):
        inspecting.inspect("nonsense", None, ())
    config.write_text(json.dumps({**PUBLISHED, "num_key_value_heads": 5}))
    with pytest.raises(QuietlyError, match="cannot share it evenly"):
        inspecting.inspect(str(config), None, ())
    config.write_text(json.dumps({**PUBLISHED, "model_type": "gemma3_text"}))
    with pytest.raises(QuietlyError, match="gemma3_text"):
        inspecting.inspect(str(config), None, ())


def test_a_hostile_name_reaches_no_terminal(tmp_path, capsys):
    folder = tmp_path / "evil\x1b[31m[bold]"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    inspecting.show(inspecting.inspect(str(folder / "config.json"), None, ()))
    assert "\x1b" not in capsys.readouterr().out
