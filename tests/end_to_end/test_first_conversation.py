"""The real program in a real terminal with a real model: a person's first evening with Quietly."""

import os
import signal

import pytest

from app.chat.store import Store
from tests.end_to_end.keys import CTRL_Q, ENTER
from tests.end_to_end.ways import WAYS
from tests.terminal import Terminal


@pytest.mark.parametrize("way", WAYS)
def test_ask_stream_stop_switch_export_quit_reopen(opened, places, installation, way):
    person = way(opened)
    person.is_ready()
    person.ask("What is the capital of France?")
    person.hears("The capital of France is Paris.")

    person.ask("Write a very long story about the sea.")
    person.sees_it_written("Write a very long story about the sea.", by="starter")
    person.stops()

    person.exports()
    (exported,) = (installation / "Downloads").glob("*.md")
    assert "The capital of France is Paris." in exported.read_text()

    person.switches_to("babbler")
    person.ask("hello")
    person.sees_it_written("hello", by="babbler")
    person.stops()
    person.quits()

    again = way(opened)
    again.finds_again("babbler", "topped")
    again.quits()

    with Store.open(places.database) as store:
        branch = store.branch(store.latest().id)
    assert [message.role for message in branch] == ["user", "assistant"] * 3
    assert [message.status for message in branch[1::2]] == ["complete", "stopped", "stopped"]
    assert branch[3].content
    assert [message.model for message in branch[1::2]] == ["starter", "starter", "babbler"]


@pytest.mark.soak
def test_kill_9_of_the_engine_leaves_the_window_and_the_partial_answer(opened, places):
    window = opened()
    window.until("Ask anything", "● starter")
    window.type("Write a very long story about the sea." + ENTER)
    window.until("Write a very long story", "writing")
    (engine,) = window.children()
    partial = partial_answer(places, window)
    os.kill(engine, signal.SIGKILL)
    window.until("The engine stopped unexpectedly")

    window.type("What is the capital of France?" + ENTER)
    window.until("The capital of France is Paris.")
    window.type(CTRL_Q)
    assert window.ends() == 0
    with Store.open(places.database) as store:
        branch = store.branch(store.latest().id)
    assert branch[1].status == "interrupted"
    assert branch[1].content.startswith(partial)


def partial_answer(places, window: Terminal) -> str:
    """The answer's stored part, once there is one."""
    with Store.open(places.database) as store:
        while True:
            window._look(0.2)
            content = store.branch(store.latest().id)[-1].content
            if content:
                return content


@pytest.mark.parametrize("way", WAYS)
def test_kill_9_keeps_the_question_and_the_partial_answer(opened, places, way):
    person = way(opened)
    person.is_ready()
    person.ask("Write a very long story about the sea.")
    person.sees_it_written("Write a very long story about the sea.", by="starter")
    partial = partial_answer(places, person.terminal)
    os.kill(person.terminal.pid, signal.SIGKILL)

    again = way(opened)
    again.finds_again("Write a very long story", "nterrupted")
    again.quits()
    with Store.open(places.database) as store:
        question, answer = store.branch(store.latest().id)
    assert question.content == "Write a very long story about the sea."
    assert answer.status == "interrupted" and answer.content.startswith(partial)


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGHUP])
def test_a_window_that_is_asked_to_end_puts_the_terminal_back(opened, asked):
    window = opened()
    window.until("Ask anything")
    os.kill(window.pid, asked)
    assert window.ends() == 128 + asked
    assert window.left_the_second_screen


def test_hostile_bytes_typed_and_pasted_are_text(opened):
    window = opened()
    window.until("Ask anything", "starter")
    window.type(b"\xff\xfe\x80")
    window.type("\x1b[200~one \x1b[31mred\rtwo \x1b]0;title\x07 end\x1b[201~")
    window.until("two ]0;title end", "Nothing yet")
    window.type(CTRL_Q)
    assert window.ends() == 0
