"""The catalogue: what it offers, what it says of it, and which of it suits a machine."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library.catalogue import OVERHEAD, STARTER, catalogue, recommend, waiting
from app.library.machine import GIB
from app.library.running import runner
from app.library.starter import starter_file
from model.facts import kv_bytes

OFFERS = {offer.name: offer for offer in catalogue()}

PUBLISHED = {
    "starter": 134_515_008,
    "Qwen2.5 0.5B": 494_032_768,
    "Qwen2.5 1.5B": 1_543_714_304,
    "Qwen2.5 3B": 3_085_938_688,
    "Qwen2.5 7B": 7_615_616_512,
    "Qwen2.5 14B": 14_770_033_664,
    "Qwen2.5 32B": 32_763_876_352,
    "Qwen2.5 72B": 72_706_203_648,
    "Qwen3 0.6B": 596_049_920,
    "Qwen3 1.7B": 1_720_574_976,
    "Qwen3 4B": 4_022_468_096,
    "Qwen3 4B 2507": 4_022_468_096,
    "Qwen3 8B": 8_190_735_360,
    "Qwen3 14B": 14_768_307_200,
    "Qwen3 32B": 32_762_123_264,
    "Qwen3 30B A3B": 30_532_122_624,
    "Llama 3.2 1B": 1_235_814_400,
    "Llama 3.2 3B": 3_212_749_824,
    "Llama 3.1 8B": 8_030_261_248,
    "Llama 3.3 70B": 70_553_706_496,
    "Mistral 7B": 7_248_023_552,
    "Mistral Nemo 12B": 12_247_782_400,
    "Phi 3.5 mini": 3_821_079_552,
    "Phi 4": 14_659_507_200,
    "Gemma 2 2B": 2_614_341_888,
    "Gemma 2 9B": 9_241_705_984,
    "Gemma 3 1B": 999_885_952,
    "SmolLM3 3B": 3_075_098_624,
    "openPangu Embedded 7B": 8_030_887_936,
    "RWKV-7 World 1.5B": 1_527_404_544,
}
"""Parameters, as the models' own cards and indexes have them."""

ENTRY = """
[[model]]
name = "One"
repo = "someone/one"
licence = "mit"
note = "a note"
quantization = {{ group_size = 64, bits = 4 }}
shape = {{ model_type = "{kind}", num_hidden_layers = 2, hidden_size = 64, num_attention_heads = 2, \
intermediate_size = 128, vocab_size = 256 }}
"""


def test_every_shape_has_the_parameters_that_were_published() -> None:
    assert {name: offer.parameters for name, offer in OFFERS.items()} == PUBLISHED


def test_sizes_are_those_of_four_bits_with_scales() -> None:
    for offer in catalogue():
        if offer is not STARTER and offer.config.quantization is not None:
            assert offer.stored == "4 bit" and offer.bits == pytest.approx(4.5, abs=0.01)
            assert offer.weights == pytest.approx(offer.parameters * 4.5 / 8, rel=0.01)
            assert offer.size == offer.weights + OVERHEAD


def test_every_offer_says_what_a_person_must_know() -> None:
    for offer in catalogue():
        assert offer.licence and offer.note and offer.config.context >= 8192
        assert offer.repo.count("/") == 1 or offer is STARTER
        assert runner(offer.config.model_type) == offer.runs
    assert len({offer.repo for offer in catalogue()}) == len(catalogue())
    assert OFFERS["Qwen2.5 7B"].runs == "quietly" and OFFERS["Phi 4"].runs == "mlx-lm"
    assert "not for commercial use" in OFFERS["Qwen2.5 3B"].note
    for family in ("Llama", "Gemma", "Qwen2.5 72B"):
        assert all("own" in offer.note for name, offer in OFFERS.items() if name.startswith(family))


def test_shapes_of_others_are_described_as_far_as_memory_goes() -> None:
    moe = OFFERS["Qwen3 30B A3B"].config
    assert moe.intermediate_size == 8 * 768, "what one token passes through"
    assert OFFERS["Mistral 7B"].config.layer_windows == (None,) * 32
    windows = OFFERS["Gemma 3 1B"].config.layer_windows
    assert windows == tuple(None if layer % 6 == 5 else 512 for layer in range(26))
    assert kv_bytes(OFFERS["Gemma 3 1B"].config, 8192) < 0.25 * 8192 * kv_bytes(OFFERS["Gemma 3 1B"].config, 1)


def test_what_is_not_offered_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {model.name.split()[0] for model in waiting()} == {"RWKV-4"}
    assert not {model.repo for model in waiting()} & {offer.repo for offer in catalogue()}
    assert all(model.why and model.licence for model in waiting())
    here, elsewhere = tmp_path / "here.toml", tmp_path / "elsewhere.toml"
    for file in (here, elsewhere):
        file.write_text(ENTRY.format(kind="phi3"))
    assert [offer.name for offer in catalogue(here)] == ["starter", "One"]
    monkeypatch.setattr("app.library.catalogue.runner", lambda kind: None)
    assert [offer.name for offer in catalogue(elsewhere)] == ["starter"]


def test_whose_implementation_runs_an_architecture_is_known_without_mlx() -> None:
    ours = ("qwen2", "qwen3", "llama", "mistral", "pangu_pi", "PanguEmbedded", "rwkv", "rwkv7")
    assert [runner(kind) for kind in ours] == ["quietly"] * len(ours)
    assert [runner(kind) for kind in ("gemma3_text", "falcon_mamba", "lfm2-vl")] == ["mlx-lm"] * 3
    assert [runner(kind) for kind in ("whisper", "cache", "../qwen2", "", "a" * 300)] == [None] * 5


def test_the_recommendation_is_the_largest_that_fits_with_room_to_spare() -> None:
    def recommended(gib: float) -> str | None:
        offer = recommend(int(gib * GIB))
        return offer.name if offer else None

    assert recommended(0.7) is None
    assert [recommended(gib) for gib in (2, 5.3, 10.7, 16, 144)] == [
        "Qwen2.5 0.5B",
        "Qwen2.5 1.5B",
        "Qwen2.5 7B",
        "Qwen2.5 14B",
        "Qwen2.5 14B",
    ]
    on_a_cpu = recommend(64 * GIB, "CPU")
    assert on_a_cpu is not None and on_a_cpu.name == "Qwen2.5 0.5B"


@given(memory=st.integers(0, 500 * GIB))
def test_what_is_recommended_may_be_used_freely(memory: int) -> None:
    offer = recommend(memory)
    assert offer is None or (offer.licence == "apache-2.0" and offer.recommended)


def test_the_starter_in_the_catalogue_is_the_file_that_is_installed() -> None:
    path = starter_file()
    assert path is not None and path.stat().st_size == STARTER.weights
    head = path.read_bytes()[: 8 * 1024 * 1024]
    assert head.startswith(b"GGUF")
    for key, value in {
        "block_count": 30,
        "embedding_length": 576,
        "feed_forward_length": 1536,
        "context_length": 8192,
    }.items():
        name = f"llama.{key}".encode()
        at = head.index(name) + len(name)
        assert int.from_bytes(head[at : at + 4], "little") == 4, "a 32-bit number follows"
        assert int.from_bytes(head[at + 4 : at + 8], "little") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[model]]\nname = 3",
        "not toml",
        "[[model]]\nname='a'\nrepo='b'\nlicence='c'\nnote='d'\nshape={}\nquantization={}",
        f"{ENTRY.format(kind='qwen2')}\n[[waiting]]\nname = 'a'",
        ENTRY.format(kind="qwen2").replace("64,", "63,"),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(text)
    with pytest.raises(QuietlyError, match="install Quietly again"):
        catalogue(file)
    with pytest.raises(QuietlyError, match="install Quietly again"):
        catalogue(tmp_path / "missing.toml")
