"""What a model's load comes to on this machine, and how the pool keeps to the settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.client import EngineError
from app.engines import appraise, engines
from app.generation import GenerationSettings
from app.library import machine
from app.library.machine import Machine
from app.settings import Paths, Settings
from tests.checkpoints import speaking_checkpoint

GIB = 1024**3
MIB = 1024**2


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return speaking_checkpoint(tmp_path / "tiny")


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let this machine have so much memory, and so much of it free; nothing but a CPU."""

    def has(memory: int, free: int) -> None:
        monkeypatch.setattr(machine, "this_machine", lambda: Machine("chip", memory, free, "system", "CPU"))

    return has


def test_a_model_that_fits_leaves_the_room_that_a_machine_of_this_size_gives(tiny: Path, has) -> None:
    has(24 * GIB, 20 * GIB)
    appraisal = appraise(tiny, held=0)
    assert 0 < appraisal.need < GIB and appraisal.room == 8 * GIB
    assert appraisal.refusal == appraisal.warning == ""
    has(16 * GIB, 12 * GIB)
    assert appraise(tiny, held=0).room == 0


def test_conversations_may_have_what_other_models_leave_and_some_of_it_always(tiny: Path, has) -> None:
    has(24 * GIB, 20 * GIB)
    spare = int(0.8 * 20 * GIB) - appraise(tiny, held=0).need
    assert appraise(tiny, held=0).sessions == spare - 8 * GIB
    has(16 * GIB, 12 * GIB)
    assert appraise(tiny, held=0).sessions > 8 * GIB
    has(24 * GIB, 2 * GIB)
    assert 256 * MIB < appraise(tiny, held=0).sessions < GIB
    has(24 * GIB, 100 * MIB)
    assert appraise(tiny, held=0).sessions == 0


def test_what_is_in_use_elsewhere_is_no_room(tiny: Path, has) -> None:
    has(24 * GIB, 2 * GIB)
    assert 0 < appraise(tiny, held=0).room < 2 * GIB - appraise(tiny, held=0).need


def test_a_model_larger_than_what_is_free_is_refused_unless_others_can_give_theirs(tiny: Path, has) -> None:
    has(24 * GIB, 100 * MIB)
    refused = appraise(tiny, held=0)
    assert "tiny" in refused.refusal and "more than the" in refused.refusal and refused.room == 0
    assert appraise(tiny, held=8 * GIB).refusal == ""


def test_a_narrow_fit_comes_with_a_warning(tiny: Path, has) -> None:
    has(24 * GIB, 20 * GIB)
    has(24 * GIB, appraise(tiny, held=0).need + 10 * MIB)
    narrow = appraise(tiny, held=0)
    assert "tiny" in narrow.warning and narrow.refusal == "" and narrow.room == 0


@pytest.mark.parametrize("kind", ["nowhere", "empty"])
def test_what_the_library_cannot_read_is_for_the_engine_to_refuse(tmp_path: Path, has, kind: str) -> None:
    has(24 * GIB, 20 * GIB)
    if kind == "empty":
        (tmp_path / kind).mkdir()
    appraisal = appraise(tmp_path / kind, held=0)
    assert appraisal.refusal == "" and appraisal.room == 8 * GIB


async def test_a_model_is_judged_at_the_context_that_is_set(places: Paths, tiny: Path, has) -> None:
    has(24 * GIB, 20 * GIB)
    has(24 * GIB, appraise(tiny, 0, 256).need + MIB // 2)
    settings = Settings(generation=GenerationSettings(context=4096))
    pool = engines(places, lambda: settings)
    with pytest.raises(EngineError, match="more than the"):
        await pool.load(tiny)
    settings = Settings(generation=GenerationSettings(context=256))
    assert (await pool.load(tiny)).context == 4096
    await pool.close()
