"""The rule by which a device computes: the same each time, and never longer at once than a person waits."""

from dataclasses import fields

import pytest

from model.choices import choices_for, variants

MODELS = {"0.5B": 494_000_000, "7B": 7_600_000_000, "72B": 72_700_000_000}
GPUS = ("applegpu_g13g", "applegpu_g14s", "applegpu_g15c", "applegpu_g16d", "sm_90")


@pytest.mark.parametrize("architecture", GPUS)
def test_a_larger_model_reads_no_more_at_once_than_a_smaller_one(architecture: str) -> None:
    chunks = [choices_for(True, architecture, parameters).chunk for parameters in MODELS.values()]
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[-1] >= 64


def test_a_larger_gpu_reads_no_less_at_once_than_a_smaller_one() -> None:
    chunks = [choices_for(True, architecture, MODELS["7B"]).chunk for architecture in GPUS]
    assert chunks == sorted(chunks)


def test_a_cpu_compiles_nothing() -> None:
    assert not choices_for(False, "", MODELS["0.5B"]).compiled


@pytest.mark.parametrize("architecture", GPUS)
def test_without_attention_more_is_read_at_once_on_a_cpu_and_no_more_on_a_gpu(architecture: str) -> None:
    for parameters in MODELS.values():
        on_cpu, on_gpu = (
            [choices_for(gpu, architecture, parameters, recurrent).chunk for recurrent in (False, True)]
            for gpu in (False, True)
        )
        assert on_cpu[1] > on_cpu[0] and on_gpu[1] <= on_gpu[0]


def test_large_models_and_those_of_a_gpu_that_unpacks_in_its_kernels_compute_their_own_way() -> None:
    small, large = (choices_for(True, "sm_90", MODELS[size]) for size in ("0.5B", "7B"))
    assert small.joint and not large.joint
    assert large.unpack < choices_for(True, "applegpu_g16d", MODELS["7B"]).unpack


@pytest.mark.parametrize("gpu", [True, False])
def test_a_variant_differs_in_one_thing(gpu: bool) -> None:
    chosen = choices_for(gpu, "applegpu_g15c" if gpu else "", MODELS["0.5B"])
    for variant in variants(chosen, gpu):
        changed = [
            field.name for field in fields(chosen) if getattr(variant, field.name) != getattr(chosen, field.name)
        ]
        assert len(changed) == 1
        assert gpu or "compiled" not in changed
