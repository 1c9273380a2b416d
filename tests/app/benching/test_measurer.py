"""Real processes that measure a tiny model, Quietly's way and mlx-lm's, and end when nobody wants to know more."""

import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.benching.measurer import _measured
from app.benching.messages import Bandwidth, Decode, Prefill, Prepared, Restore, Sample, Thing, Turn, Unmeasured
from app.benching.runner import Measurer
from app.errors import QuietlyError
from app.library.local import InstalledModel, find
from model.benchmark import Measured
from model.choices import Choices
from model.errors import ModelError
from tests.app.library.children import children
from tests.checkpoints import speaking_checkpoint
from tests.model.pth_files import publish

THINGS: tuple[Thing, ...] = (Prefill(20), Decode(30, 5), Turn(30, 5), Restore(30, 5), Bandwidth(1 << 20))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InstalledModel:
    return find(str(speaking_checkpoint(tmp_path_factory.mktemp("measured") / "tiny")))


@pytest.fixture
async def quietly(model: InstalledModel) -> AsyncIterator[Measurer]:
    runner = Measurer(model, choices=Choices(chunk=16, joined=False, compiled=False))
    yield runner
    await runner.close()


async def all_measured(runner: Measurer) -> Prepared:
    prepared = await runner.prepare(lambda done, total: None)
    samples = [await runner.measure(thing) for thing in THINGS]
    assert all(isinstance(sample, Sample) and sample.seconds > 0 and sample.memory for sample in samples)
    assert samples[1].read > 1000
    return prepared


async def test_quietly_is_measured_as_it_is_told_to_compute(
    quietly: Measurer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    prepared = await all_measured(quietly)
    configuration = dict(prepared.configuration)
    assert configuration["prompt"] == "16 tokens at once" and configuration["numbers"] == "float32"
    assert prepared.context == 4096 and prepared.version.startswith("MLX ")
    assert list(tmp_path.glob("quietly-bench-*/session.safetensors"))
    await quietly.close()
    assert not children("app.benching.measurer") and not list(tmp_path.glob("quietly-bench-*"))


async def test_one_that_dies_is_said(quietly: Measurer) -> None:
    await quietly.prepare(lambda done, total: None)
    for pid in children("app.benching.measurer"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(QuietlyError, match="Measuring quietly ended early"):
        await quietly.measure(Prefill(20))


def test_why_something_cannot_be_measured_goes_into_any_sentence() -> None:
    class Full:
        def decode(self, depth: int, tokens: int) -> Measured:
            raise ModelError("The context is full; ask for fewer.", "context")

    assert _measured(Full(), Decode(1, 1)) == Unmeasured("The context is full; ask for fewer")


async def test_a_model_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    folder = speaking_checkpoint(tmp_path / "cut short")
    found = find(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    runner = Measurer(found)
    with pytest.raises(QuietlyError, match=r"model\.safetensors is only 0 bytes long"):
        await runner.prepare(lambda done, total: None)
    await runner.close()


async def test_what_mlx_lm_does_not_run_it_says_itself(tmp_path: Path) -> None:
    folder = speaking_checkpoint(tmp_path / "strange")
    runner = Measurer(find(str(folder)), "mlx-lm")
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**fields, "model_type": "rwkv"}))
    with pytest.raises(QuietlyError, match=r"^mlx-lm could not run strange \(Model type rwkv not supported\): leave"):
        await runner.prepare(lambda done, total: None)
    await runner.close()


async def test_mlx_lm_reads_no_file_of_torch_s(tmp_path: Path) -> None:
    runner = Measurer(find(str(publish(tmp_path / "RWKV-4-Pile-0M-ctx256.pth"))), "mlx-lm")
    with pytest.raises(QuietlyError, match=r"^mlx-lm reads no \.pth files"):
        await runner.prepare(lambda done, total: None)
    await runner.close()


@pytest.mark.soak
async def test_mlx_lm_is_measured_over_the_same_weights(model: InstalledModel) -> None:
    runner = Measurer(model, "mlx-lm")
    prepared = await all_measured(runner)
    assert prepared.version.startswith("mlx-lm ") and prepared.context == 4096
    assert ("prompt", "2,048 tokens at once") in prepared.configuration
    await runner.close()


@pytest.mark.soak
async def test_both_write_the_same_answer_behind_the_same_prompt(model: InstalledModel, tmp_path: Path) -> None:
    import importlib

    import mlx.core as mx

    from app.benching.theirs import TheirMeter
    from model import load
    from model.benchmark import prompt

    theirs, ours = TheirMeter(model.path, tmp_path), load(model.path)
    steps = importlib.import_module("mlx_lm.generate").generate_step
    tokens = prompt(40, ours.traits.vocabulary)
    expected = [token for token, _ in steps(mx.array(tokens), theirs.module, max_tokens=8)]
    assert [token.id for token in ours.generate(tokens, max_tokens=8)] == expected
