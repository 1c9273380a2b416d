"""A person's own keys: what is followed, what is said about the rest, and that every binding can be named."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App
from textual.binding import Binding, BindingType

from app.tui.keys import Places, keymap, known


class Desk(App[None]):
    """A window with three actions, which remembers what was done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "do('new')", id="page.new", priority=True),
        Binding("ctrl+s,ctrl+e", "do('save')", id="page.save"),
        Binding("f1", "do('help')", id="page.help"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def action_do(self, what: str) -> None:
        self.done.append(what)


PLACES: Places = {Desk: {one.id: one for one in Desk.BINDINGS if isinstance(one, Binding) and one.id}}


def mapped(**keys: str) -> tuple[dict[str, str], list[str]]:
    return keymap({f"page.{name}": value for name, value in keys.items()}, PLACES)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("Ctrl+B", "ctrl+b"),
        ("option+left", "alt+left"),
        ("esc, PgUp", "escape,pageup"),
        ("ctrl+/", "ctrl+slash,ctrl+underscore"),
        ("?", "question_mark"),
        ("shift+r", "R"),
        ("shift+ctrl+left", "ctrl+shift+left"),
        ("+", "plus"),
    ],
)
def test_keys_may_be_written_as_people_write_them(written: str, named: str) -> None:
    assert mapped(save=written) == ({"page.save": named}, [])


@pytest.mark.parametrize("written", ["", "ctrl+nonsense", "hyperdrive+x", "f99", "ctrl+", "ctrl+m", "\x1b[31m"])
def test_what_is_no_key_is_said_and_the_actions_own_stays(written: str) -> None:
    keys, (sentence,) = mapped(save=written)
    assert keys == {} and "page.save" in sentence and sentence.isprintable()


def test_an_unknown_action_is_said_with_the_nearest() -> None:
    keys, (sentence,) = mapped(sav="ctrl+b")
    assert keys == {} and "page.sav" in sentence and "page.save?" in sentence


def test_a_plain_letter_never_takes_the_letter_from_what_is_typed() -> None:
    keys, (sentence,) = mapped(new="x")
    assert keys == {} and "typed" in sentence
    assert mapped(help="x") == ({"page.help": "x"}, [])


def test_two_actions_on_one_key_are_said_and_the_first_named_keeps_it() -> None:
    keys, (sentence,) = mapped(save="ctrl+b", help="ctrl+b,f2")
    assert keys == {"page.save": "ctrl+b", "page.help": "f2"}
    assert "page.save" in sentence and "page.help" in sentence and "ctrl+b" in sentence


async def test_the_window_follows_it_also_where_another_action_gives_way() -> None:
    keys, (sentence,) = mapped(save="f1")
    assert "page.help" in sentence
    app = Desk()
    async with app.run_test() as pilot:
        app.set_keymap(keys)
        await pilot.press("f1", "ctrl+s", "ctrl+n")
        assert app.done == ["save", "new"]


async def test_two_actions_may_change_places() -> None:
    keys, sentences = mapped(new="ctrl+s", save="ctrl+n")
    assert sentences == []
    app = Desk()
    async with app.run_test() as pilot:
        app.set_keymap(keys)
        await pilot.press("ctrl+s", "ctrl+n")
        assert app.done == ["new", "save"]


@given(
    st.dictionaries(
        st.sampled_from(["page.new", "page.save", "page.help", "page.nothing"]),
        st.text(st.sampled_from("actrl+shiftf12,?/ \x1b"), max_size=15),
        max_size=4,
    )
)
def test_whatever_is_written_no_set_key_does_two_things(keys: dict[str, str]) -> None:
    chosen, sentences = keymap(keys, PLACES)
    taken = [key for written in chosen.values() for key in written.split(",")]
    assert len(taken) == len(set(taken)) and set(chosen) <= set(PLACES[Desk])
    assert all(sentence.isprintable() for sentence in sentences)


def test_every_binding_of_the_window_has_an_id_and_none_is_missed() -> None:
    places = known()
    ids = {id for bindings in places.values() for id in bindings}
    assert {"answer.stop", "composer.send", "sidebar.filter", "window.quit", "confirm.yes"} <= ids
    for kind in places:
        for binding in vars(kind).get("BINDINGS", ()):
            assert isinstance(binding, Binding) and binding.id, f"{kind.__name__}: {binding}"
