"""The real program in a real terminal with a real model: what one does with what was said."""

from pathlib import Path

import pytest

from app.chat.store import Store
from tests.end_to_end.keys import CTRL_F, CTRL_N, CTRL_Q, CTRL_T, ENTER, ESCAPE, UP

pytestmark = pytest.mark.soak

CAPITAL = "The capital of France is Paris."


def stored(places) -> list[str]:
    with Store.open(places.database) as store:
        return [message.content for message in store.branch(store.latest().id)]


@pytest.fixture
def window(opened):
    window = opened()
    window.until("Ask anything", "● starter")
    yield window
    window.type(CTRL_Q)
    assert window.ends() == 0


def test_edit_answer_again_switch_find_and_look_into(window, places):
    window.type("What is the capital of Spain?" + ENTER)
    window.until("tok/s", gone="writing")
    window.type(CTRL_T)
    window.until("R again")
    window.type("ke")
    window.until("Editing your question")
    window.type("\x05\x15What is the capital of France?" + ENTER)
    window.until(CAPITAL, "2/2", gone="writing")
    assert stored(places) == ["What is the capital of France?", CAPITAL]

    window.type(CTRL_T)
    window.until("R again")
    window.type("p")
    window.until("token 1 of", "The", "%")
    window.type(ESCAPE)
    window.until("R again", gone="token 1 of")
    window.type("k\x1b[D")  # the question's other version
    window.until("capital of Spain?", "1/2", gone=CAPITAL)
    window.type(CTRL_F + "SPAIN")
    window.until("1 of")
    window.type(ESCAPE)
    window.until("Ask anything", gone="1 of")


def test_a_stopped_answer_goes_on_to_its_end(window, places):
    window.type("Count from one to five in words." + ENTER)
    window.until("writing")
    window.type(ESCAPE)
    window.until("stopped", gone="writing")
    before = stored(places)[-1]
    window.type("/continue" + ENTER)
    window.until("writing", within=120)
    for _ in range(300):
        if len(stored(places)[-1]) > len(before):
            break
        window._look(0.2)
    window.type(ESCAPE)
    window.until("tok/s", gone="writing")
    after = stored(places)[-1]
    assert after.startswith(before) and len(after) > len(before)


def test_a_file_goes_along_and_a_temporary_chat_leaves_nothing(window, places, tmp_path: Path):
    (tmp_path / "colours.md").write_text("# Colours\n\nMy favourite colour is vermilion.\n")
    window.type(f"/attach {tmp_path / 'colours.md'}" + ENTER)
    window.until("colours.md", "tokens")
    window.type("What is my favourite colour?" + ENTER)
    window.until("colours.md", "tok/s", gone="writing", within=120)
    window.type(CTRL_N)
    window.until("New conversation")
    window.type("/temporary" + ENTER)
    window.until("not stored")
    window.type("What is the capital of France?" + ENTER)
    window.until(CAPITAL, gone="writing")
    window.type(CTRL_N)
    window.until("Ask anything", "New conversation")
    window.type(UP)
    window.until("What is my favourite colour?")  # what was asked in the temporary chat is not recalled
    with Store.open(places.database) as store:
        assert len(store.conversations()) == 1
    for file in Path(places.data).rglob("*"):
        assert not file.is_file() or b"capital of France" not in file.read_bytes()
