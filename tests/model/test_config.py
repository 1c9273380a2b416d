"""What config.py makes of the configurations people have, and of those nobody should have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import (
    Config,
    LayerQuantization,
    Rwkv7Config,
    TransformerConfig,
    model_type,
    parse_config,
    read_config,
    with_window,
)
from model.errors import ModelError

QWEN: dict[str, object] = {
    "architectures": ["Qwen2ForCausalLM"],
    "auto_map": {"AutoModel": "evil.Model"},
    "model_type": "qwen2",
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152064,
}
ABSENT = object()


def qwen(**changes: object) -> Config:
    fields = {key: value for key, value in {**QWEN, **changes}.items() if value is not ABSENT}
    return parse_config(fields, "qwen2.5-7b")


def llama(**changes: object) -> Config:
    return qwen(**{"model_type": "llama", "use_sliding_window": ABSENT, "sliding_window": ABSENT, **changes})


def refusal(**changes: object) -> ModelError:
    with pytest.raises(ModelError) as caught:
        qwen(**changes)
    sentence = str(caught.value)
    assert sentence.startswith("qwen2.5-7b: ") and "\n" not in sentence and len(sentence) < 250
    return caught.value


def test_a_published_qwen_reads_as_it_is_meant() -> None:
    config = qwen()
    assert (config.head_dim, config.num_key_value_heads, config.context) == (128, 4, 32768)
    assert config.qkv_bias and not config.attention_output_bias and not config.mlp_bias
    assert config.layer_windows == (None,) * 28, "use_sliding_window is false, whatever sliding_window says"
    assert (config.rope.type, config.rope.theta) == ("default", 1e6)
    assert (config.eos_token_ids, config.bos_token_id, config.dtype) == ((151645,), 151643, "bfloat16")
    assert config.tie_word_embeddings is False and config.quantization is None


def test_what_may_be_absent_has_the_defaults_of_transformers() -> None:
    config = qwen(
        num_key_value_heads=None,
        rms_norm_eps=ABSENT,
        max_position_embeddings=ABSENT,
        rope_theta=ABSENT,
        tie_word_embeddings=ABSENT,
        hidden_act=ABSENT,
        eos_token_id=None,
        bos_token_id=None,
        torch_dtype=None,
    )
    assert config.num_key_value_heads == 28
    assert (config.rms_norm_eps, config.max_position_embeddings, config.rope.theta) == (1e-6, 32768, 10000.0)
    assert config.tie_word_embeddings is None
    assert (config.eos_token_ids, config.bos_token_id, config.dtype) == ((), None, None)


def test_llama_biases_its_output_where_it_biases_at_all() -> None:
    plain, biased = llama(), llama(attention_bias=True, mlp_bias=True, head_dim=64)
    assert not (plain.qkv_bias or plain.attention_output_bias or plain.mlp_bias)
    assert biased.qkv_bias and biased.attention_output_bias and biased.mlp_bias and biased.head_dim == 64
    assert not qwen(attention_bias=True).attention_output_bias, "qwen2 has no such field"


def test_layers_from_max_window_layers_on_slide() -> None:
    some = qwen(use_sliding_window=True, sliding_window=4096, max_window_layers=21)
    assert some.layer_windows == (None,) * 21 + (4096,) * 7
    assert qwen(use_sliding_window=True, sliding_window=1, max_window_layers=0).layer_windows == (1,) * 28
    assert qwen(use_sliding_window=True, max_window_layers=28).layer_windows == (None,) * 28
    assert qwen(use_sliding_window=True, max_window_layers=99).layer_windows == (None,) * 28
    assert qwen(use_sliding_window=True, sliding_window=None).layer_windows == (None,) * 28
    assert qwen(use_sliding_window=True, sliding_window=ABSENT, max_window_layers=27).layer_windows[-1] == 4096


def test_explicit_layer_types_win() -> None:
    types = ["sliding_attention", "full_attention"] * 14
    config = qwen(use_sliding_window=True, sliding_window=5, max_window_layers=0, layer_types=types)
    assert config.layer_windows == (5, None) * 14
    assert llama(sliding_window=7, layer_types=types).layer_windows == (7, None) * 14
    assert llama(sliding_window=7).layer_windows == (None,) * 28
    assert qwen(layer_types=["full_attention"] * 28).layer_windows == (None,) * 28


def test_layer_types_that_contradict_the_switch_are_refused_as_in_transformers() -> None:
    types = ["full_attention"] * 27 + ["sliding_attention"]
    assert "use_sliding_window is false" in str(refusal(layer_types=types))
    assert "sliding_window is not set" in str(refusal(layer_types=types, use_sliding_window=True, sliding_window=None))
    assert "28 names" in str(refusal(layer_types=types[1:]))
    assert refusal(layer_types=["linear_attention"] * 28).kind == "unsupported"
    refusal(layer_types=[["full_attention"]] * 28)
    refusal(use_sliding_window=True, sliding_window=0)
    refusal(use_sliding_window=True, sliding_window=-4)


def test_both_spellings_of_rope_mean_the_same() -> None:
    stretched = {"factor": 4.0, "original_max_position_embeddings": 32768}
    old = qwen(rope_scaling={"type": "yarn", **stretched})
    older = qwen(rope_scaling={"rope_type": "yarn", **stretched})
    new = qwen(rope_theta=ABSENT, rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, **stretched})
    assert old == older == new
    assert (new.rope.type, new.rope.theta, new.rope.factor) == ("yarn", 1e6, 4.0)
    assert (new.rope.beta_fast, new.rope.beta_slow, new.rope.attention_factor) == (32.0, 1.0, None)
    assert new.context == 131072 and new.max_position_embeddings == 32768


FORMS_OF_5: dict[str, object] = {"rope_theta": ABSENT, "torch_dtype": ABSENT, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"rope_type": "default"}, 32768),
        ({"rope_type": "linear", "factor": 2.0}, 32768),
        ({"rope_type": "dynamic", "factor": 2.0}, 32768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}, 32768),
        ({"rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0, "attention_factor": 1.5}, 32768),
        ({"rope_type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False}, 32768),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            131072,
        ),
    ],
)
@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "mistral"])
def test_what_transformers_4_and_5_write_is_one_config(scaling: dict[str, object], longest: int, kind: str) -> None:
    own = {"model_type": kind, "max_position_embeddings": longest, "head_dim": 96, "sliding_window": None}
    older = {**scaling, "type": scaling["rope_type"]}
    del older["rope_type"]
    plain = scaling["rope_type"] == "default"
    four = qwen(**own, rope_theta=5e5, rope_scaling=None if plain else scaling)
    five = qwen(**own, **FORMS_OF_5, rope_parameters={**scaling, "rope_theta": 5e5})
    both = qwen(**own, rope_theta=5e5, rope_scaling=scaling, rope_parameters={**scaling, "rope_theta": 5e5})
    assert four == qwen(**own, rope_theta=5e5, rope_scaling=None if plain else older) == five == both
    assert (four.rope.theta, four.rope.type, four.dtype, four.head_dim) == (5e5, scaling["rope_type"], "bfloat16", 96)


def test_layers_are_told_alike_by_number_and_by_name() -> None:
    by_name = ["full_attention"] * 20 + ["sliding_attention"] * 8
    four = qwen(use_sliding_window=True, sliding_window=4096, max_window_layers=20)
    five = qwen(use_sliding_window=True, sliding_window=4096, max_window_layers=20, layer_types=by_name)
    assert four == five
    assert llama(sliding_window=4096, layer_types=by_name).layer_windows == four.layer_windows


def test_a_head_s_width_is_taken_where_it_is_given() -> None:
    assert qwen(head_dim=64).head_dim == 64 and qwen(head_dim=None).head_dim == qwen().head_dim == 128
    assert qwen(hidden_size=1000, head_dim=64).head_dim == 64, "then the heads need not divide the hidden size"
    assert qwen(model_type="qwen3").head_dim == 128 and qwen(model_type="qwen3", head_dim=32).head_dim == 32


def test_a_window_can_be_put_on_the_top_layers() -> None:
    config = qwen()
    assert with_window(config, 4096, 7).layer_windows == (None,) * 21 + (4096,) * 7
    assert with_window(config, 4096, 7) == qwen(use_sliding_window=True, sliding_window=4096, max_window_layers=21)
    assert with_window(config, 1, 28).layer_windows == (1,) * 28
    assert with_window(config, 4096, 0) == config
    sliding = qwen(use_sliding_window=True, sliding_window=512, max_window_layers=27)
    assert with_window(sliding, 4096, 2).layer_windows == (None,) * 26 + (4096, 512), "the narrower one stays"
    for window, layers in ((0, 3), (-1, 3), (8, 29), (8, -1)):
        with pytest.raises(ModelError) as caught:
            with_window(config, window, layers)
        assert caught.value.kind == "request"


def test_theta_is_taken_from_the_innermost_place() -> None:
    assert qwen(rope_parameters={"rope_type": "default", "rope_theta": 5e6}).rope.theta == 5e6
    assert qwen(rope_parameters={"rope_type": "default"}).rope.theta == 1e6
    assert qwen(rope_scaling=None, rope_theta=ABSENT).rope.theta == 10000.0


def test_yarn_without_an_original_length_takes_the_config_s_own() -> None:
    assert qwen(rope_scaling={"type": "yarn", "factor": 2}).rope.original_max_position_embeddings == 32768
    derived = qwen(
        max_position_embeddings=65536,
        rope_scaling={"type": "yarn", "factor": None, "original_max_position_embeddings": 32768},
    )
    assert derived.rope.factor == 2.0


def test_the_rope_of_llama_3_is_read() -> None:
    scaling = {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }
    config = llama(max_position_embeddings=131072, rope_scaling=scaling, rope_theta=500000.0)
    rope = config.rope
    assert (rope.type, rope.factor, rope.low_freq_factor, rope.high_freq_factor) == ("llama3", 32.0, 1.0, 4.0)
    assert rope.original_max_position_embeddings == 8192 and config.context == 131072
    with pytest.raises(ModelError, match="high_freq_factor"):
        llama(rope_scaling={**scaling, "high_freq_factor": 1.0})
    with pytest.raises(ModelError, match="low_freq_factor"):
        llama(rope_scaling={**scaling, "low_freq_factor": None})


def test_ropes_that_are_not_known_here_say_so() -> None:
    assert refusal(rope_scaling={"type": "longrope", "factor": 2.0}).kind == "unsupported"
    assert refusal(rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5}).kind == "unsupported"
    assert refusal(rope_parameters={"full_attention": {"rope_theta": 1e6}}).kind == "unsupported"
    assert refusal(partial_rotary_factor=0.25).kind == "unsupported"
    assert "factor" in str(refusal(rope_scaling={"type": "linear"}))
    assert "rope_scaling.factor" in str(refusal(rope_scaling={"type": "linear", "factor": True}))
    refusal(rope_scaling=["yarn"])
    refusal(rope_theta=0)
    refusal(rope_theta=1)


def test_mlx_quantisation_is_read_with_what_differs_by_layer() -> None:
    entry = {
        "group_size": 64,
        "bits": 4,
        "model.embed_tokens": {"group_size": 32, "bits": 8},
        "lm_head": {"bits": 6},
        "model.layers.0.mlp.down_proj": False,
    }
    for key in ("quantization", "quantization_config"):
        rule = qwen(**{key: entry}).quantization
        assert rule is not None
        assert rule.of("model.layers.1.mlp.down_proj") == LayerQuantization(64, 4)
        assert rule.of("model.embed_tokens") == LayerQuantization(32, 8)
        assert rule.of("lm_head") == LayerQuantization(64, 6)
        assert rule.of("model.layers.0.mlp.down_proj") is None
    assert LayerQuantization(64, 4).bits_per_weight == 4.5
    micro = qwen(quantization={"group_size": 32, "bits": 4, "mode": "mxfp4"}).quantization
    assert micro is not None and micro.default.bits_per_weight == 4.25


def test_other_quantisations_are_refused_by_name() -> None:
    assert "gptq" in str(refusal(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128}))
    assert refusal(quantization_config={"quant_method": "fp8"}).kind == "unsupported"
    assert "quantization.bits = 7" in str(refusal(quantization={"group_size": 64, "bits": 7}))
    assert "32, 64 or 128" in str(refusal(quantization={"group_size": 48, "bits": 4}))
    refusal(quantization={"group_size": 64, "bits": 4, "mode": "magic"})
    refusal(quantization={"group_size": 64, "bits": 4, "lm_head": {"bits": 1000}})
    refusal(quantization="4bit")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 0),
        ("num_attention_heads", -28),
        ("num_attention_heads", True),
        ("num_attention_heads", 28.0),
        ("num_attention_heads", "28"),
        ("num_attention_heads", 27),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 0),
        ("num_key_value_heads", 56),
        ("hidden_size", 3585),
        ("hidden_size", 2**63),
        ("hidden_size", 10**400),
        ("head_dim", 0),
        ("head_dim", 127),
        ("vocab_size", -1),
        ("vocab_size", 2**31),
        ("intermediate_size", [18944]),
        ("intermediate_size", {}),
        ("num_hidden_layers", 10**9),
        ("rms_norm_eps", float("nan")),
        ("rms_norm_eps", float("inf")),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", -1e-6),
        ("rms_norm_eps", False),
        ("rope_theta", float("nan")),
        ("rope_theta", 10**400),
        ("max_position_embeddings", 0),
        ("tie_word_embeddings", "yes"),
        ("tie_word_embeddings", 1),
        ("use_sliding_window", 1),
        ("eos_token_id", -1),
        ("eos_token_id", [1, "2"]),
        ("eos_token_id", True),
        ("hidden_act", 3),
        ("max_window_layers", 1.5),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_field(field: str, value: object) -> None:
    error = refusal(**{field: value, **({"use_sliding_window": True} if field == "max_window_layers" else {})})
    assert error.kind == "checkpoint"
    blamed = ("num_key_value_heads", "hidden_size", "head_dim") if field.startswith("num_att") else ()
    assert any(name in str(error) for name in (field, *blamed))


def test_what_must_be_there_is_named_when_it_is_not() -> None:
    for field in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
    ):
        assert f"no {field}" in str(refusal(**{field: ABSENT}))
        assert f"no {field}" in str(refusal(**{field: None}))


def test_other_architectures_are_named_not_guessed() -> None:
    assert refusal(model_type="mamba2").kind == "unsupported"
    assert refusal(model_type=ABSENT).kind == "checkpoint"
    assert refusal(model_type=7).kind == "checkpoint"
    assert refusal(hidden_act="gelu").kind == "unsupported"


def test_a_folder_is_read_and_its_faults_name_it(tmp_path: Path) -> None:
    folder = tmp_path / "qwen2.5-7b"
    with pytest.raises(ModelError, match=r"qwen2\.5-7b: config\.json is missing"):
        read_config(folder)
    folder.mkdir()
    with pytest.raises(ModelError, match="missing"):
        read_config(folder)
    file = folder / "config.json"
    for content in (
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"3",
        b"\x00" * 100,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"model_type": ' + b"9" * 10_000 + b"}",
        b'{"model_type": "qwen2", "hidden_size": ' + b"9" * 5_000 + b"}",
    ):
        file.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            read_config(folder)
        assert str(caught.value).startswith("qwen2.5-7b: config.json") and len(str(caught.value)) < 200
    file.write_text(json.dumps(QWEN), encoding="utf-8-sig")
    assert read_config(folder) == qwen()
    assert model_type(folder) == "qwen2"
    with file.open("wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    with pytest.raises(ModelError, match="no checkpoint needs more"):
        read_config(folder)
    file.unlink()
    file.mkdir()
    with pytest.raises(ModelError, match="is not a file"):
        read_config(folder)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="is not a file"):
        read_config(folder)


words = st.text(alphabet="a.é\x1b\n\u202e", max_size=4) | st.sampled_from(["bits", "factor", "type", "rope_type"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *QWEN,
        "head_dim",
        "value_dim",
        "a_low_rank_dim",
        "hidden_ratio",
        "rope_scaling",
        "rope_parameters",
        "layer_types",
        "quantization",
        "quantization_config",
        "dtype",
    ]
)


@given(
    changes=st.dictionaries(KEYS, json_values, max_size=4),
    kind=st.sampled_from(["qwen2", "llama", "mistral", "rwkv", "rwkv7"]),
)
def test_whatever_a_config_says_it_is_read_or_refused(changes: dict[str, object], kind: str) -> None:
    try:
        config = parse_config({**QWEN, "model_type": kind, "hidden_act": None, **changes}, "x")
    except ModelError as error:
        assert str(error).startswith("x: ") and len(str(error)) < 300 and str(error).isprintable()
        return
    hash(config)
    assert config.trained <= config.context
    if isinstance(config, TransformerConfig):
        assert config.num_attention_heads % config.num_key_value_heads == 0
        assert len(config.layer_windows) == config.num_hidden_layers
        assert all(window is None or window >= 1 for window in config.layer_windows)
    if isinstance(config, Rwkv7Config):
        assert config.num_heads * config.head_dim == config.hidden_size


RWKV7: dict[str, object] = {"model_type": "rwkv7", "hidden_size": 2560, "num_hidden_layers": 32, "vocab_size": 65536}


def test_what_an_rwkv_7_leaves_out_follows_from_its_width() -> None:
    """As in flash-linear-attention, which writes null where it does."""
    config = parse_config({**RWKV7, "a_low_rank_dim": None, "hidden_ratio": 3.51}, "rwkv7")
    assert isinstance(config, Rwkv7Config)
    ranks = config.decay_low_rank_dim, config.a_low_rank_dim, config.v_low_rank_dim, config.gate_low_rank_dim
    assert ranks == (128, 128, 96, 256)
    assert (config.intermediate_size, config.num_heads, config.head_dim) == (8992, 40, 64)
    wide = parse_config({**RWKV7, "head_dim": 128, "v_low_rank_dim": 7}, "rwkv7")
    assert isinstance(wide, Rwkv7Config)
    assert (wide.decay_low_rank_dim, wide.v_low_rank_dim, wide.gate_low_rank_dim) == (256, 7, 256)


@pytest.mark.parametrize(
    ("changes", "heads"),
    [
        ({"head_dim": 64, "num_heads": 32}, 40),  # as it is published: another number of heads, which nobody asks for
        ({"num_heads": 20}, 40),
        ({"head_dim": None, "num_heads": 20}, 20),
        ({"head_dim": None}, 40),
    ],
)
def test_the_size_of_a_head_goes_before_the_number_of_heads(changes: dict[str, object], heads: int) -> None:
    config = parse_config({**RWKV7, **changes}, "rwkv7")
    assert isinstance(config, Rwkv7Config)
    assert (config.num_heads, config.head_dim) == (heads, 2560 // heads)


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "silu"}, {"norm_first": False}, {"attn": {"layers": [1], "num_heads": 4}}]
)
def test_an_rwkv_7_of_another_kind_is_not_opened_as_the_usual_one(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="of another kind") as caught:
        parse_config({**RWKV7, **changes}, "rwkv7")
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"head_dim": 96}, "hidden_size"), ({"head_dim": None, "num_heads": 39}, "num_heads"), ({"value_dim": 64}, "v")],
)
def test_heads_that_an_rwkv_7_cannot_have_are_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ModelError, match=f"config.json has {field}"):
        parse_config({**RWKV7, **changes}, "rwkv7")


def test_reading_a_config_loads_no_mlx() -> None:
    code = (
        "import sys, model.config, model.facts;"
        "print({name.split('.')[0] for name in sys.modules} & {'mlx', 'mlx_lm', 'numpy', 'tokenizers'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
