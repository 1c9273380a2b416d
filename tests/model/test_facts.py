"""The costs that facts.py derives, against the published sizes of real models."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import LayerQuantization, Quantization, Rwkv7Config, TransformerConfig, parse_config, with_window
from model.facts import (
    attention_map,
    attention_pairs,
    composition,
    kv_bytes,
    kv_bytes_as,
    kv_bytes_per_token,
    layer_kv_bytes,
    layer_pairs,
    layer_runs,
    parameters,
    sharing,
    state_bytes,
    stored_bytes,
    weight_bytes,
)


def shape(
    layers: int, hidden: int, heads: int, kv: int, inner: int, vocab: int, tied: bool, **more: object
) -> TransformerConfig:
    fields: dict[str, object] = {
        "model_type": "qwen2",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        **more,
    }
    config = parse_config(fields, "a model")
    assert isinstance(config, TransformerConfig)
    return config


QWEN = {
    "2.5-0.5B": shape(24, 896, 14, 2, 4864, 151936, True),
    "2.5-1.5B": shape(28, 1536, 12, 2, 8960, 151936, True),
    "2.5-3B": shape(36, 2048, 16, 2, 11008, 151936, True),
    "2.5-7B": shape(28, 3584, 28, 4, 18944, 152064, False),
    "2.5-14B": shape(48, 5120, 40, 8, 13824, 152064, False),
    "2.5-32B": shape(64, 5120, 40, 8, 27648, 152064, False),
    "2.5-72B": shape(80, 8192, 64, 8, 29568, 152064, False),
    "1.5-0.5B": shape(24, 1024, 16, 16, 2816, 151936, True),
    "1.5-1.8B": shape(24, 2048, 16, 16, 5504, 151936, False),
    "1.5-4B": shape(40, 2560, 20, 20, 6912, 151936, False),
    "1.5-7B": shape(32, 4096, 32, 32, 11008, 151936, False),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("2.5-0.5B", 494_032_768),
        ("2.5-1.5B", 1_543_714_304),
        ("2.5-3B", 3_085_938_688),
        ("2.5-7B", 7_615_616_512),
        ("2.5-14B", 14_770_033_664),
        ("2.5-32B", 32_763_876_352),
        ("2.5-72B", 72_706_203_648),
        ("1.5-0.5B", 463_987_712),
        ("1.5-1.8B", 1_836_828_672),
        ("1.5-4B", 3_950_369_280),
        ("1.5-7B", 7_721_324_544),
    ],
)
def test_the_parameters_of_published_qwens_are_counted_exactly(name: str, count: int) -> None:
    assert parameters(QWEN[name]).total == count


@pytest.mark.parametrize(
    ("name", "each"),
    [("2.5-0.5B", 12_288), ("2.5-1.5B", 28_672), ("2.5-3B", 36_864), ("2.5-7B", 57_344), ("1.5-7B", 524_288)],
)
def test_a_token_of_context_costs_what_was_published(name: str, each: int) -> None:
    assert kv_bytes_per_token(QWEN[name]) == each
    assert kv_bytes(QWEN[name], 32_768) == 32_768 * each


def test_a_llama_and_a_qwen3_are_counted_exactly() -> None:
    smollm2 = parse_config(
        {
            "model_type": "llama",
            "num_hidden_layers": 30,
            "hidden_size": 576,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "vocab_size": 49152,
            "tie_word_embeddings": True,
        },
        "SmolLM2-135M",
    )
    assert parameters(smollm2).total == 134_515_008
    qwen3 = replace(shape(28, 1024, 16, 8, 3072, 151936, True), head_dim=128, qkv_bias=False, qk_norm=True)
    assert parameters(qwen3).total == 596_049_920


def test_the_parts_of_a_model_are_told_apart() -> None:
    parts = parameters(QWEN["2.5-7B"])
    assert parts.embeddings == parts.head == 152064 * 3584
    assert parts.norms == (2 * 28 + 1) * 3584
    assert parts.attention == 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3584 + 2 * 512)
    assert parts.feed_forward == 28 * 3 * 3584 * 18944


def test_whether_the_head_is_its_own_is_asked_where_the_config_is_silent() -> None:
    silent = replace(QWEN["2.5-0.5B"], tie_word_embeddings=None)
    assert parameters(silent, tied=True).total == 494_032_768
    assert parameters(silent).head == parameters(silent).embeddings
    assert parameters(QWEN["2.5-7B"], tied=True).head > 0, "what the config says wins"


def test_four_bits_in_groups_of_64_cost_four_and_a_half_bits() -> None:
    config = QWEN["2.5-7B"]
    parts = parameters(config)
    vectors = parts.norms + 28 * (3584 + 2 * 512)
    assert weight_bytes(config, LayerQuantization(64, 4)) == (parts.total - vectors) * 9 // 16 + 2 * vectors
    assert weight_bytes(config) == 2 * parts.total
    own = shape(28, 3584, 28, 4, 18944, 152064, False, quantization={"group_size": 64, "bits": 4})
    assert stored_bytes(own) == weight_bytes(config, LayerQuantization(64, 4))
    assert stored_bytes(config) == weight_bytes(config)


def test_rows_that_no_group_divides_stay_at_sixteen_bits() -> None:
    config = shape(1, 72, 2, 2, 128, 100, True)
    down = 72 * 128
    assert weight_bytes(config) - weight_bytes(config, LayerQuantization(64, 4)) == down * 2 - down * 9 // 16


def test_a_sliding_layer_is_priced_as_its_window() -> None:
    config = replace(QWEN["2.5-7B"], layer_windows=(None,) * 14 + (4096,) * 14)
    full, sliding = layer_kv_bytes(config, 0, 32_768), layer_kv_bytes(config, 27, 32_768)
    assert full == 8 * sliding
    assert kv_bytes(config, 32_768) == 14 * (full + sliding)
    assert kv_bytes(config, 100) == kv_bytes(QWEN["2.5-7B"], 100)


@given(tokens=st.integers(0, 100_000), more=st.integers(0, 100_000), window=st.integers(1, 50_000))
def test_a_cache_never_shrinks_and_never_exceeds_full_attention(tokens: int, more: int, window: int) -> None:
    config = replace(QWEN["2.5-0.5B"], layer_windows=(None, window) * 12)
    assert kv_bytes(config, tokens) <= kv_bytes(config, tokens + more)
    assert kv_bytes(config, tokens) <= kv_bytes(QWEN["2.5-0.5B"], tokens)
    assert kv_bytes(config, tokens, element=4) == 2 * kv_bytes(config, tokens)


PUBLISHED = shape(28, 3584, 28, 4, 18944, 151646, False, auto_map={"AutoModel": "modeling_qwen.Qwen2Model"})


def test_the_vocabulary_of_qwen2_7b_costs_what_is_said_of_it() -> None:
    assert parameters(QWEN["2.5-7B"]).embeddings == 544_997_376
    rows = {row.part: row for row in composition(PUBLISHED)}
    assert rows["embeddings"].parameters == rows["head"].parameters == 543_499_264
    assert sum(row.parameters for row in rows.values()) == parameters(PUBLISHED).total == 7_612_620_288
    assert rows["embeddings"].nbytes == 1_086_998_528, "1.087 GB in fp16"
    assert round(rows["embeddings"].share, 4) == 0.0714


def test_the_parts_add_up_whatever_they_are_stored_as() -> None:
    for config in (*QWEN.values(), PUBLISHED):
        for packing in (None, LayerQuantization(64, 4), LayerQuantization(32, 8), LayerQuantization(32, 4, "mxfp4")):
            rows = composition(config, packing)
            assert tuple(row.part for row in rows) == ("embeddings", "attention", "feed-forward", "norms", "head")
            assert sum(row.nbytes for row in rows) == weight_bytes(config, packing)
            assert sum(row.parameters for row in rows) == parameters(config).total
            assert abs(sum(row.share for row in rows) - 1) < 1e-12
    assert weight_bytes(PUBLISHED, element=4) == 4 * 7_612_620_288
    assert stored_bytes(replace(PUBLISHED, dtype="float32")) == 4 * 7_612_620_288


def test_layers_that_differ_from_the_rule_are_priced_as_they_are() -> None:
    uniform = {"group_size": 64, "bits": 4}
    plain = shape(28, 3584, 28, 4, 18944, 152064, False, quantization=uniform)
    mixed = shape(
        28,
        3584,
        28,
        4,
        18944,
        152064,
        False,
        quantization={
            **uniform,
            "model.embed_tokens": {"group_size": 64, "bits": 6},
            "model.layers.3.mlp.down_proj": {"group_size": 32, "bits": 8},
            "model.layers.27.self_attn.v_proj": False,
        },
    )
    down, v_proj = 3584 * 18944, 512 * 3584
    extra = 152064 * 3584 * 2 // 8 + (down * 9 // 8 - down * 9 // 16) + (v_proj * 2 - v_proj * 9 // 16)
    assert stored_bytes(mixed) - stored_bytes(plain) == extra


def test_sharing_keys_and_values_is_what_makes_the_cache_small() -> None:
    config = QWEN["2.5-7B"]
    assert sharing(config) == "GQA"
    assert (kv_bytes_as(config, "MHA", 1), kv_bytes_per_token(config), kv_bytes_as(config, "MQA", 1)) == (
        401_408,
        57_344,
        14_336,
    )
    assert sharing(QWEN["1.5-7B"]) == "MHA"
    assert kv_bytes_as(QWEN["1.5-7B"], "MHA", 99) == kv_bytes(QWEN["1.5-7B"], 99)
    one = replace(config, num_key_value_heads=1)
    assert sharing(one) == "MQA" and kv_bytes_as(one, "MQA", 99) == kv_bytes(one, 99)


def test_the_map_of_attention_shows_each_layer() -> None:
    config = with_window(QWEN["2.5-7B"], 4096, 7)
    assert attention_map(config) == "█" * 21 + "▄" * 7
    assert layer_runs(config) == [(0, 20, None), (21, 27, 4096)]
    alternating = replace(config, layer_windows=(None, 8) * 14)
    assert attention_map(alternating) == "█▄" * 14 and len(layer_runs(alternating)) == 28


@given(tokens=st.integers(0, 60), window=st.none() | st.integers(1, 70))
def test_pairs_of_query_and_key_are_those_of_the_mask(tokens: int, window: int | None) -> None:
    seen = [(q, k) for q in range(tokens) for k in range(q + 1) if window is None or k > q - window]
    assert layer_pairs(tokens, window) == len(seen)


def test_a_window_makes_attention_linear() -> None:
    full, sliding = QWEN["2.5-7B"], with_window(QWEN["2.5-7B"], 1024, 28)
    assert attention_pairs(full, 32_768) == 28 * (32_768 * 32_769 // 2)
    assert attention_pairs(sliding, 65_536) - attention_pairs(sliding, 32_768) == 28 * 32_768 * 1024


# --- without attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "hidden", "count"),
    [(12, 768, 169_342_464), (24, 1024, 430_397_440), (24, 2048, 1_515_106_304), (32, 2560, 2_984_627_200)],
)
def test_the_parameters_of_published_rwkv_4_are_counted_exactly(layers: int, hidden: int, count: int) -> None:
    fields = {"model_type": "rwkv", "vocab_size": 50277, "num_hidden_layers": layers, "hidden_size": hidden}
    assert parameters(parse_config(fields, "RWKV-4")).total == count


def rwkv7(layers: int, hidden: int, low_ranks: tuple[int, int, int, int], **more: object) -> Rwkv7Config:
    """`low_ranks`: of the decay, of the rate in context, of the values and of the gate."""
    names = ("decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim")
    fields: dict[str, object] = {
        "model_type": "rwkv7",
        "vocab_size": 65536,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        **dict(zip(names, low_ranks, strict=True)),
        **more,
    }
    config = parse_config(fields, "RWKV-7")
    assert isinstance(config, Rwkv7Config)
    return config


RWKV7 = {
    "0.1B": rwkv7(12, 768, (64, 64, 32, 128)),
    "0.4B": rwkv7(24, 1024, (64, 64, 32, 128)),
    "1.5B": rwkv7(24, 2048, (96, 96, 64, 256)),
    "2.9B": rwkv7(32, 2560, (96, 96, 64, 320)),
    "7.2B": rwkv7(32, 4096, (128, 128, 96, 480)),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("0.1B", 191_034_624),
        ("0.4B", 450_767_872),
        ("1.5B", 1_527_404_544),
        ("2.9B", 2_947_735_040),
        ("7.2B", 7_199_141_888),
    ],
)
def test_the_parameters_of_published_rwkv_7_are_counted_exactly(name: str, count: int) -> None:
    assert parameters(RWKV7[name]).total == count


def test_a_state_has_as_many_numbers_as_its_author_says() -> None:
    small = RWKV7["0.4B"]
    assert small.num_hidden_layers * (small.state_numbers + small.shift_numbers) == 1_622_016
    assert state_bytes(small, element=4) == 4 * 1_622_016


def test_seven_billion_parameters_without_attention_hold_what_qwen2_7b_holds_of_594_tokens() -> None:
    state, each = state_bytes(RWKV7["7.2B"]), kv_bytes_per_token(QWEN["2.5-7B"])
    assert state == 34_078_720 and state // each == 594
    assert [round(kv_bytes(QWEN["2.5-7B"], tokens) / state, 1) for tokens in (1024, 8192, 65536)] == [1.7, 13.8, 110.3]


def test_quantising_leaves_low_rank_parts_unless_a_checkpoint_says_otherwise() -> None:
    rule = LayerQuantization(64, 4)
    config = rwkv7(2, 512, (64, 64, 64, 64))
    low_rank = 2 * 512 * 64 * 2 * 4 - 2 * 512 * 64  # up and down, four of them, but in the first layer
    vectors = parameters(config).total - 2 * 65536 * 512 - 2 * 12 * 512 * 512 - low_rank
    assert weight_bytes(config, rule) == (2 * 65536 + 2 * 12 * 512) * 512 * 9 // 16 + 2 * (low_rank + vectors)
    assert weight_bytes(config, rule) == weight_bytes(config, Quantization(rule))
    path = "model.layers.1.attn.w_lora.lora.2"
    mixed = weight_bytes(config, Quantization(rule, {path: LayerQuantization(64, 8)}))
    assert weight_bytes(config, rule) - mixed == 512 * 64 * 2 - 512 * 64 * 17 // 16


def test_pangu_pi_costs_what_its_two_modules_add() -> None:
    llama = shape(29, 4096, 32, 32, 11008, 100_883, False, model_type="llama")
    pangu = shape(29, 4096, 32, 32, 11008, 100_883, False, model_type="pangu_pi")
    added = parameters(pangu), parameters(llama)
    assert added[0].attention - added[1].attention == 29 * 2 * 4096 * 4096 // 32
    assert added[0].feed_forward - added[1].feed_forward == 29 * 2 * 2 * 11008
    assert added[0].total == pytest.approx(6.73e9, rel=0.01)
    assert kv_bytes_per_token(pangu) == kv_bytes_per_token(llama)
