"""What is said of the context of a model that holds any number of tokens, wherever a context is told."""

import json
from datetime import date
from pathlib import Path

import pytest

from app import words
from app.answering import context_of
from app.cli.fitting import fit
from app.cli.models import list_models
from app.engine.protocol import Loaded, SamplingOptions
from app.generation import GENERATION_FIELDS, GenerationSettings
from app.library.describing import describe
from app.tui.stock import installed
from app.tuning import checkpoint, unchosen
from model.config import UNBOUNDED
from tests.app.library import disks

SAID = "no limit, trained to 4,096"
FIELDS = {field.id: field for field in GENERATION_FIELDS}


@pytest.fixture
def recurrent(home: Path) -> Path:
    """An RWKV-7 among the models of this machine."""
    shape = {"model_type": "rwkv7", "max_position_embeddings": 4096, "intermediate_size": 3584}
    return disks.checkpoint(home / "data/models/goose", **shape)


def loaded(context: int) -> Loaded:
    return Loaded(1, "rwkv7", "print", 10**6, None, context, "CPU", 1, 0.1, SamplingOptions(), 4096)


def test_the_meter_says_so_and_is_never_full() -> None:
    assert words.context(1234, None, 4096) == f"ctx 1,234 · {SAID}"
    assert words.context(10**9, None, 4096) == f"ctx 1,000,000,000 · {SAID}"
    assert words.context(None, None, 4096) == f"ctx – · {SAID}"
    assert words.context(7, None, 0) == "ctx 7 · no limit"


def test_the_list_has_no_context_and_what_it_was_trained_for(
    recurrent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_models(as_json=True)
    starter, goose = json.loads(capsys.readouterr().out)
    assert (starter["context"], starter["trained"]) == (8192, 8192)
    assert (goose["context"], goose["trained"]) == (None, 4096)


def test_what_fits_has_no_end_and_what_it_was_trained_for(recurrent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("goose")
    assert f"{SAID} tokens" in capsys.readouterr().out
    fit("goose", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["longest"], told["roomy"], told["trained"]) == (None, None, 4096)


def test_the_librarys_facts_say_so(recurrent: Path) -> None:
    item = installed(describe(recurrent, "quietly"), None, chosen=False, state="idle", used=None, today=date.today())
    assert dict(item.facts)["Context"] == f"{SAID} tokens"


def test_the_settings_say_so_where_nobody_has_set_one() -> None:
    assert unchosen(FIELDS["context"], [checkpoint(loaded(UNBOUNDED))]) == SAID
    assert unchosen(FIELDS["context"], [checkpoint(loaded(8192))]) == "8,192, the checkpoint's own"
    assert unchosen(FIELDS["context"], [checkpoint(None)]) == "all that the model holds"


def test_a_context_that_is_set_limits_it_all_the_same() -> None:
    assert context_of(GenerationSettings(context=2000), UNBOUNDED) == 2000
    assert context_of(GenerationSettings(), UNBOUNDED) == UNBOUNDED
    assert context_of(GenerationSettings(context=2000, overflow="rolling"), UNBOUNDED) == UNBOUNDED
