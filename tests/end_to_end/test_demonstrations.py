"""The demonstration models that come with Quietly, in a real terminal: they talk about their garden."""

import re

import pytest

from app.chat.store import Store
from app.library.local import installed
from tests.end_to_end.keys import CTRL_Q, ENTER
from tests.training.text import documents

NAMES = ["demo-llama", "demo-pangu-pi", "demo-qwen2-windows", "demo-rwkv7"]
KNOWN = {word for one in documents(0, 3000) for text in one.texts() for word in re.findall(r"[a-z]+", text.lower())}
"""What they have read of words."""


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_one_is_chosen_and_answers_in_words_that_it_has_read(opened, places, monkeypatch, name):
    monkeypatch.delenv("QUIETLY_DEMONSTRATIONS")
    monkeypatch.setenv("QUIETLY_GENERATION_TEMPERATURE", "0")
    window = opened()
    window.until("Ask anything", "● starter", "Demonstration", *NAMES[:2])
    window.type(f"/model {name} " + ENTER)
    window.until(f"● {name}", "a demonstration, answers here")
    for question, answered in (("When do I sow carrots?", "to July"), ("And how deep?", "cm deep")):
        window.type(question + ENTER)
        window.until(question, answered, "tok/s", gone="writing")
    window.type(CTRL_Q)
    assert window.ends() == 0
    with Store.open(places.database) as store:
        said = [message.content for message in store.branch(store.latest().id)]
    for answer in (said[1], said[3]):
        assert "carrots" in answer.lower() and {*re.findall(r"[a-z]+", answer.lower())} <= KNOWN, answer


def test_all_four_come_along_whole_small_and_with_their_licence(monkeypatch):
    monkeypatch.delenv("QUIETLY_DEMONSTRATIONS")
    models = [model for model in installed() if model.source == "demonstration"]
    assert [model.name for model in models] == NAMES
    for model in models:
        assert (model.problem, model.runs, model.licence) == (None, "quietly", "apache-2.0")
        assert model.stored == "4 bit" and model.size < 8_000_000
