"""Whether models fit."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.library.catalogue import catalogue
from app.library.fit import RESERVE, fit, fit_of, need
from app.library.hub import Found
from app.library.local import InstalledModel
from app.library.machine import GIB, Machine
from model.config import UNBOUNDED, parse_config

OFFERS = {offer.name: offer for offer in catalogue()}


def machine(memory: int, backend: str = "Metal") -> Machine:
    return Machine("Apple M2", memory, memory, "macOS 15.1", "Metal" if backend == "Metal" else "CPU")


def test_the_need_is_weights_cache_workspace_and_reserve() -> None:
    offer = OFFERS["Qwen2.5 7B"]
    needed = need(offer.weights, offer.config, 32768)
    assert 32768 * 57_344 <= needed.kv <= 1.5 * 32768 * 57_344, "caches grow by half"
    assert needed.weights == offer.weights and needed.reserve == RESERVE["Metal"]
    assert needed.total == offer.weights + needed.kv + needed.workspace + needed.reserve
    assert need(offer.weights, offer.config, 32768, kv=8).kv < 0.6 * needed.kv
    assert need(offer.weights, offer.config, 32768, "CPU", 16 * GIB).kv == 2 * needed.kv, "it computes in float32"
    assert need(10**9, None, 8192).total > 10**9 + 8192 * 57_344


def test_a_cpu_unpacks_weights_where_its_memory_allows() -> None:
    offer = OFFERS["Qwen2.5 0.5B"]
    dense = need(offer.weights, offer.config, 1, "CPU", 16 * GIB).weights
    packed = need(offer.weights, offer.config, 1, "CPU", 4 * GIB).weights
    assert dense == 4 * offer.parameters and offer.weights < packed < 0.2 * dense


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


def test_what_is_tight_names_the_context_that_fits() -> None:
    offer = OFFERS["Qwen2.5 7B"]
    tight = fit(offer.weights, offer.config, machine(12 * GIB), 31_000)
    assert tight.verdict == "tight" and f"stay below {tight.roomy:,} tokens" in tight.sentence
    assert fit(offer.weights, offer.config, machine(12 * GIB), tight.roomy).verdict == "fits"


def test_what_others_use_now_makes_it_tight() -> None:
    offer, crowded = OFFERS["Qwen2.5 7B"], replace(machine(32 * GIB), available=3 * GIB)
    judged = fit(offer.weights, offer.config, crowded)
    assert judged.verdict == "tight" and "more than the 3.0 GiB that are free now" in judged.sentence
    assert judged.longest == 32768 and judged.roomy == 0


def test_what_is_too_big_names_the_bits_that_fit() -> None:
    config = replace(OFFERS["Qwen2.5 7B"].config, quantization=None, dtype="bfloat16")
    for memory, bits in ((16, 8), (10, 4), (4, None)):
        judged = fit(0, config, machine(memory * GIB))
        assert judged.verdict == "too big" and judged.bits == bits
        assert (f"quantised to {bits} bits" in judged.sentence) == (bits is not None)
    small = OFFERS["Qwen2.5 7B"]
    assert fit(small.weights, small.config, machine(4 * GIB)).bits is None, "it has four bits already"


def test_models_are_judged_wherever_they_are() -> None:
    offer = OFFERS["Qwen2.5 7B"]
    found = Found("someone/Odd-9B", "Odd-9B", "mlx-lm", size=18 * 10**9, weights=18 * 10**9)
    here = InstalledModel("Odd", Path("odd"), "folder", size=5 * 10**9, weights=5 * 10**9, bits=4.5)
    assert fit_of(offer, machine(16 * GIB)) == fit(offer.weights, offer.config, machine(16 * GIB), name=offer.name)
    assert fit_of(found, machine(16 * GIB)).verdict == "too big"
    assert fit_of(found, machine(32 * GIB)).verdict != "too big"
    assert fit_of(found, machine(32 * GIB, "CPU")).verdict == "too big", "a CPU computes in float32"
    assert fit_of(here, machine(16 * GIB)).verdict == fit_of(here, machine(16 * GIB, "CPU")).verdict == "fits"


def test_a_context_beyond_the_model_s_own_is_not_judged() -> None:
    offer = OFFERS["Qwen2.5 0.5B"]
    assert fit(offer.weights, offer.config, machine(16 * GIB), 10**6).context == 32768


RWKV7 = parse_config(
    {
        "model_type": "rwkv7",
        "vocab_size": 65536,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "torch_dtype": "bfloat16",
    },
    "RWKV-7 0.4B",
)


def test_a_state_takes_the_same_at_any_context() -> None:
    short, long = (fit(0, RWKV7, machine(8 * GIB), context) for context in (100, 10**7))
    assert short.need == long.need and short.need.kv == 0 and short.need.state > 0
    assert long.verdict == "fits" and long.longest == long.roomy == UNBOUNDED and long.context == 10**7
    assert "however long the context and fits" in long.sentence


@pytest.mark.parametrize("backend", ["Metal", "CPU"])
def test_what_a_state_does_not_leave_room_for_no_shorter_context_mends(backend: str) -> None:
    judged = [fit(0, RWKV7, machine(sixth * GIB // 6, backend), 8192, "A model") for sixth in range(1, 60)]
    assert {one.verdict for one in judged} == {"fits", "tight", "too big"}
    for one in judged:
        assert one.verdict == "fits" or "tokens" not in one.sentence, one.sentence


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
