"""Whether models fit, and the catalogue from which one is recommended."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import QuietlyError
from app.library.catalogue import OVERHEAD, STARTER, catalogue, recommend
from app.library.fit import RESERVE, fit, need
from app.library.machine import GIB, Machine
from app.library.starter import starter_file
from model.facts import parameters

OFFERS = {offer.name: offer for offer in catalogue()}


def machine(memory: int, backend: str = "Metal") -> Machine:
    return Machine("Apple M2", memory, memory, "macOS 15.1", "Metal" if backend == "Metal" else "CPU")


def test_the_need_is_weights_cache_workspace_and_reserve() -> None:
    offer = OFFERS["Qwen2.5 7B"]
    needed = need(offer.weights, offer.config, 32768)
    assert needed.kv == 32768 * 57_344
    assert needed.total == offer.weights + needed.kv + needed.workspace + RESERVE
    assert need(offer.weights, offer.config, 32768, element=4).kv == 2 * needed.kv
    assert need(10**9, None, 8192).total > 10**9 + RESERVE


def test_verdicts_come_with_a_sentence_and_a_way_out() -> None:
    offer = OFFERS["Qwen2.5 7B"]
    roomy = fit(offer.weights, offer.config, machine(32 * GIB), name=offer.name)
    assert roomy.verdict == "fits" and "fits in the 21.3 GiB" in roomy.sentence and roomy.longest == 32768
    tight = fit(offer.weights, offer.config, machine(9 * GIB), name=offer.name)
    assert tight.verdict == "tight" and "close what you do not need" in tight.sentence
    long = fit(offer.weights, offer.config, machine(9 * GIB), 32768)
    assert long.verdict == "too big" and f"up to {long.longest:,} tokens" in long.sentence
    assert 8192 < long.longest < 32768
    hopeless = fit(offer.weights, offer.config, machine(4 * GIB))
    assert hopeless.verdict == "too big" and hopeless.longest == 0 and "smaller model" in hopeless.sentence


def test_a_context_beyond_the_model_s_own_is_not_judged() -> None:
    offer = OFFERS["Qwen2.5 0.5B"]
    assert fit(offer.weights, offer.config, machine(16 * GIB), 10**6).context == 32768


@settings(deadline=None)
@given(
    memory=st.integers(0, 200 * GIB),
    context=st.integers(1, 50_000),
    name=st.sampled_from(sorted(OFFERS)),
    backend=st.sampled_from(["Metal", "CPU"]),
)
def test_the_longest_context_is_the_last_that_fits(memory: int, context: int, name: str, backend: str) -> None:
    offer, here = OFFERS[name], machine(memory, backend)
    judged = fit(offer.weights, offer.config, here, context)
    assert (judged.verdict == "too big") == (judged.context > judged.longest)
    if judged.longest:
        assert fit(offer.weights, offer.config, here, judged.longest).verdict != "too big"
    if 0 < judged.longest < offer.context:
        assert fit(offer.weights, offer.config, here, judged.longest + 1).verdict == "too big"


def test_the_catalogue_s_sizes_are_those_that_were_published() -> None:
    for name, count in {
        "starter": 134_515_008,
        "Qwen2.5 0.5B": 494_032_768,
        "Qwen2.5 7B": 7_615_616_512,
        "Qwen3 0.6B": 596_049_920,
        "Qwen3 4B": 4_022_468_096,
        "Qwen3 8B": 8_190_735_360,
        "Llama 3.2 1B": 1_235_814_400,
        "Llama 3.2 3B": 3_212_749_824,
    }.items():
        assert OFFERS[name].parameters == parameters(OFFERS[name].config).total == count
    small = OFFERS["Qwen2.5 0.5B"]
    assert abs(small.weights - small.parameters * 4.5 / 8) < 0.01 * small.weights
    assert small.size == small.weights + OVERHEAD


def test_every_offer_says_what_a_person_must_know() -> None:
    for offer in catalogue():
        assert offer.licence and offer.note and offer.context >= 8192 and offer.bits == 4
        assert offer.repo.count("/") == 1 or offer is STARTER
    assert len({offer.repo for offer in catalogue()}) == len(catalogue())
    assert "not for commercial use" in OFFERS["Qwen2.5 3B"].note


def test_the_recommendation_is_the_largest_that_fits_with_room_to_spare() -> None:
    def recommended(gib: float) -> str | None:
        offer = recommend(machine(int(gib * GIB)).budget)
        return offer.name if offer else None

    assert recommended(1) is None
    assert [recommended(gib) for gib in (3, 8, 16, 24, 192)] == [
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
    ],
)
def test_a_catalogue_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(text)
    with pytest.raises(QuietlyError, match="install Quietly again"):
        catalogue(file)
    with pytest.raises(QuietlyError, match="install Quietly again"):
        catalogue(tmp_path / "missing.toml")
