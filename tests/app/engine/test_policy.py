"""Which engines stay and which go, whatever the figures are."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from app.engine.policy import Held, giving_way, in_the_way, outstayed, staying

memories = st.integers(0, 100)
engines = st.lists(
    st.builds(
        Held,
        checkpoint=st.integers(0, 9).map(lambda number: Path(f"model-{number}")),
        memory=memories,
        busy=st.booleans(),
        used=st.floats(0, 1000),
    ),
    unique_by=(lambda held: held.checkpoint, lambda held: held.used),
)


def memory(held: list[Held]) -> int:
    return sum(one.memory for one in held)


def idle(held: list[Held]) -> list[Held]:
    """Those that nobody uses, the one used last first."""
    return sorted((one for one in held if not one.busy), key=lambda one: one.used, reverse=True)


@given(engines, memories)
def test_what_is_in_use_stays_and_with_it_what_the_room_holds(held: list[Held], room: int) -> None:
    stay = [one for one in held if one.checkpoint in staying(held, room)]
    assert {one.checkpoint for one in held if one.busy} <= {one.checkpoint for one in stay}
    assert memory(stay) <= max(room, memory([one for one in held if one.busy]))


@given(engines, memories)
def test_nothing_goes_that_could_have_stayed_beside_the_rest(held: list[Held], room: int) -> None:
    stay = [one for one in held if one.checkpoint in staying(held, room)]
    assert all(memory(stay) + one.memory > room for one in held if one not in stay)


@given(engines, memories)
def test_the_model_used_last_has_the_first_claim(held: list[Held], room: int) -> None:
    if idle(held) and memory([one for one in held if one.busy]) + idle(held)[0].memory <= room:
        assert idle(held)[0].checkpoint in staying(held, room)


@given(engines, memories)
def test_a_load_waits_only_for_those_in_use_and_only_where_they_take_too_much(held: list[Held], room: int) -> None:
    busy = [one for one in held if one.busy]
    assert in_the_way(held, room) == (bool(busy) and memory(busy) > room)


@given(engines, st.floats(1000, 3000), st.floats(0, 3000))
def test_only_the_idle_outstay_their_time_and_the_longest_idle_first(
    held: list[Held], now: float, after: float
) -> None:
    gone = outstayed(held, now, after)
    assert gone <= {one.checkpoint for one in idle(held)}
    assert gone <= outstayed(held, now + 1, after)
    assert gone == {one.checkpoint for one in idle(held)[len(idle(held)) - len(gone) :]}


@given(engines, st.floats(1000, 3000))
def test_with_no_time_set_nobody_outstays_it(held: list[Held], now: float) -> None:
    assert outstayed(held, now, 0) == frozenset()


@given(engines)
def test_the_shorter_memory_is_the_more_gives_way_and_never_what_is_in_use(held: list[Held]) -> None:
    none, some, much = (giving_way(held, shortage) for shortage in ("none", "some", "much"))
    assert none == frozenset() and some <= much == {one.checkpoint for one in idle(held)}


@given(engines)
def test_while_there_is_only_some_shortage_the_model_used_last_stays(held: list[Held]) -> None:
    some = giving_way(held, "some")
    if len(idle(held)) == len(held) and held:
        assert some == {one.checkpoint for one in idle(held)[1:]}
    else:
        assert some == giving_way(held, "much")
