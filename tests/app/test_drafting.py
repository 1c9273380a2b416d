"""Which model drafts for which, as the settings and this machine have it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.engines import appraise
from app.library import machine
from app.library.machine import Machine
from tests.checkpoints import speaking_checkpoint

GIB = 1024**3


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let this machine have so much memory free."""

    def has(free: int) -> None:
        monkeypatch.setattr(machine, "this_machine", lambda: Machine("chip", 24 * GIB, free, "system", "CPU"))

    return has


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return speaking_checkpoint(tmp_path / "tiny")


@pytest.fixture
def smaller(tmp_path: Path) -> Path:
    return speaking_checkpoint(tmp_path / "smaller", num_hidden_layers=1)


def test_a_smaller_model_drafts_for_a_larger_one_and_counts_in_what_that_takes(tiny, smaller, has) -> None:
    has(20 * GIB)
    alone, both = appraise(tiny, held=0), appraise(tiny, held=0, draft=str(smaller))
    assert alone.draft is None and both.draft == smaller and both.warning == ""
    assert both.need == alone.need + appraise(smaller, held=0).need


def test_no_model_drafts_for_itself_or_a_smaller_one(tiny, smaller, has) -> None:
    has(20 * GIB)
    for model, draft in ((tiny, tiny), (smaller, tiny), (tiny, "")):
        appraisal = appraise(model, held=0, draft=str(draft))
        assert appraisal.draft is None and appraisal.warning == ""


def test_one_that_does_not_fit_beside_it_is_left_out_with_a_sentence(tiny, smaller, has) -> None:
    has(20 * GIB)
    alone = appraise(tiny, held=0)
    has(int(alone.need * 1.4))
    narrow = appraise(tiny, held=0, draft=str(smaller))
    assert narrow.draft is None and narrow.refusal == "" and narrow.need == alone.need
    assert narrow.warning.endswith("smaller does not fit beside tiny, so it drafts nothing.")


@pytest.mark.parametrize("draft", ["nowhere", "broken\n"])
def test_one_that_is_not_there_or_cannot_be_used_is_named(tiny, has, tmp_path, monkeypatch, draft) -> None:
    has(20 * GIB)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    appraisal = appraise(tiny, held=0, draft=draft if draft == "nowhere" else str(tmp_path / "broken"))
    assert appraisal.draft is None and draft.strip() in appraisal.warning and appraisal.need > 0
