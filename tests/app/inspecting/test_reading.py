"""What lies on disk is read as it is, from a bare configuration to a whole model, and nothing of it is run."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.errors import QuietlyError
from app.inspecting.figures import as_json, sections
from app.inspecting.reading import Shape, Undescribed, inspect
from model.weights.gguf import convert
from model.weights.safetensors import shards
from tests.app.inspecting.conftest import PUBLISHED, text_of
from tests.checkpoints import random_checkpoint, speaking_checkpoint
from tests.model.gguf_files import write_gguf
from tests.model.test_fallback import CONFIGS, foreign_checkpoint


def test_a_bare_config_is_told_in_figures(config):
    told = as_json(inspect(str(config), 1000, ()))
    parts = {row["part"]: row for row in told["composition"]}
    assert told["name"] == "qwen2-7b" and told["parameters"] == 7_612_620_288
    assert parts["embeddings"]["parameters"] == parts["head"]["parameters"] == 543_499_264
    assert parts["embeddings"]["nbytes"] == 1_086_998_528
    assert sum(row["nbytes"] for row in parts.values()) == told["bytes"] == 2 * told["parameters"]
    assert told["at"]["kv_bytes_per_token"] == 57_344 and told["at"]["kv_bytes"] == 57_344_000
    assert (told["at"]["kv_bytes_as_mha"], told["at"]["kv_bytes_as_mqa"]) == (401_408_000, 14_336_000)
    assert told["at"]["kv_bytes_in"] == {"16 bit": 57_344_000, "8 bit": 30_464_000, "4 bit": 16_128_000}
    assert told["at"]["attention_pairs"] == 28 * 500_500
    assert told["attention"]["windows"] == [None] * 28
    assert told["tokenizer"] is None


def test_the_starter_is_priced_as_it_lies_on_disk(starter, conversions):
    told = as_json(inspect("starter", None, ()), text="The capital of France")
    (tensors,) = shards(convert(starter, conversions, lambda done, total: None)).values()
    stored = {name: info.nbytes for name, info in tensors.items() if "norm" not in name}  # GGUF keeps norms in float32
    priced = {row["part"]: row["nbytes"] for row in told["composition"] if row["part"] != "norms"}
    assert sum(priced.values()) == sum(stored.values())
    assert priced["embeddings"] == sum(size for name, size in stored.items() if "embed_tokens" in name)
    assert told["parameters"] == 134_515_008 and told["tied"] is True
    tokenizer = told["tokenizer"]
    assert (tokenizer["kind"], tokenizer["tokens"]) == ("byte-level BPE", 49_152)
    assert {"id": 2, "name": "<|im_end|>", "roles": ("eos", "pad", "ends an answer")} in tokenizer["special"]
    assert "<|im_start|>system" in tokenizer["chat_template"]
    assert tokenizer["text"] == {"characters": 21, "bytes": 21, "tokens": 4, "tokens_per_character": 4 / 21}


@pytest.mark.parametrize("tied", [True, False])
def test_a_config_that_is_silent_about_its_head_is_read_with_the_weights_beside_it(tmp_path, tied):
    folder = random_checkpoint(tmp_path / "tiny", tie_word_embeddings=tied)
    fields = json.loads((folder / "config.json").read_text())
    del fields["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(fields))
    shape = inspect(str(folder), None, ()).shape
    assert isinstance(shape, Shape) and shape.tied is tied


def test_a_folder_by_its_config_or_by_itself_is_the_same(speaking):
    by_folder, by_file = (sections(inspect(str(path), None, ())) for path in (speaking, speaking / "config.json"))
    assert by_folder == by_file


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"llama", "qwen3"}))
def test_of_another_architecture_the_headers_of_its_weights_tell(tmp_path, name):
    found = inspect(str(foreign_checkpoint(tmp_path / name, CONFIGS[name])), None, ())
    assert isinstance(found.shape, Undescribed)
    told = as_json(found)
    (tensors,) = shards(tmp_path / name).values()
    assert told["bytes"] == sum(info.nbytes for info in tensors.values()) == 4 * told["parameters"]
    assert {row["part"]: row["parameters"] for row in told["composition"]}["embeddings"] == 96 * 32
    assert "is not described here" in told["problem"] and "is not described here" in text_of(sections(found))


def test_packed_weights_of_another_architecture_are_counted_as_what_they_stand_for(tmp_path):
    from model import quantise

    folder = foreign_checkpoint(tmp_path / "moe", CONFIGS["qwen2_moe"])
    whole = as_json(inspect(str(folder), None, ()))
    packed = as_json(inspect(str(quantise(folder, tmp_path / "packed", group_size=32)), None, ()))
    assert packed["parameters"] == whole["parameters"] and packed["bytes"] < whole["bytes"] / 2


def test_a_gguf_file_of_another_architecture_is_told_by_its_header(tmp_path):
    path = write_gguf(tmp_path / "other.gguf")
    known = as_json(inspect(str(path), None, ()))
    renamed = tmp_path / "renamed.gguf"
    renamed.write_bytes(path.read_bytes().replace(b"llama", b"lloma"))
    told = as_json(inspect(str(renamed), None, ()))
    assert "lloma" in told["problem"]
    assert told["parameters"] == known["parameters"]
    assert told["tokenizer"]["tokens"] == known["tokenizer"]["tokens"] == 8


def test_nothing_that_could_compute_is_loaded(speaking):
    code = (
        "import sys; from app.inspecting import reading, figures, apart;"
        "figures.sections(reading.inspect(sys.argv[1], None, ()), 'a text');"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'mlx', 'mlx_lm', 'torch', 'transformers'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(speaking)], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_what_cannot_be_told_is_one_sentence(config, tmp_path):
    with pytest.raises(QuietlyError, match=r"nowhere: config\.json is missing"):
        inspect(str(tmp_path / "nowhere" / "config.json"), None, ())
    with pytest.raises(QuietlyError, match="There is no model nonsense here"):
        inspect("nonsense", None, ())
    config.write_text(json.dumps({**PUBLISHED, "num_key_value_heads": 5}))
    with pytest.raises(QuietlyError, match="cannot share it evenly"):
        inspect(str(config), None, ())
    config.write_text(json.dumps({**PUBLISHED, "model_type": "gemma3_text"}))
    with pytest.raises(QuietlyError, match="gemma3_text"):
        inspect(str(config), None, ())


def test_weights_are_priced_in_the_type_that_they_have_whatever_the_config_says(tmp_path):
    folder = random_checkpoint(tmp_path / "tiny")
    fields = json.loads((folder / "config.json").read_text())
    for said in ({}, {"torch_dtype": "bfloat16"}, {"torch_dtype": "float32"}):
        (folder / "config.json").write_text(json.dumps(fields | said))
        told = as_json(inspect(str(folder), None, ()))
        (tensors,) = shards(folder).values()
        assert told["bytes"] == sum(tensor.nbytes for tensor in tensors.values())
        assert told["stored"] == "float32"


def test_scales_without_the_weights_that_they_belong_to_are_no_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    save_file({"layer.scales": np.zeros(4, np.float16)}, tmp_path / "model.safetensors")
    with pytest.raises(QuietlyError, match='shape of "mamba" models is not described here'):
        inspect(str(tmp_path), None, ())


def test_a_damaged_tokenizer_hides_nothing_but_itself(tmp_path):
    folder = speaking_checkpoint(tmp_path / "speaking")
    (folder / "tokenizer.json").write_text("{")
    found = inspect(str(folder), None, ())
    assert isinstance(found.shape, Shape)
    assert "tokenizer.json cannot be read" in text_of(sections(found))
