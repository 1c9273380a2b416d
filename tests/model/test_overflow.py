"""What a model still reads of a conversation that outgrew its context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import ModelError
from model.config import UNBOUNDED
from model.overflow import FREED, LOOKED_AT, Fitted, fit_prompt, tokens_in, whole_prompt
from model.tokenizer import Turn

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=30)


def render(turns):
    """A prompt of one token a character, and three around each message."""
    return [token for turn in turns for token in (1, *map(ord, turn.content), 2, 3)]


def conversation(lengths, system=0):
    roles = ["user", "assistant"]
    turns = [Turn(roles[index % 2], "x" * length) for index, length in enumerate(lengths)]
    if turns[-1].role == "assistant":
        turns.pop()
    return [Turn("system", "s" * system), *turns] if system else turns


@given(lengths=LENGTHS, system=st.integers(0, 20), context=st.integers(40, 300))
def test_a_prompt_fits_keeps_the_system_prompt_and_ends_with_the_question(lengths, system, context):
    turns = conversation(lengths, system)
    shortest = render([turn for turn in turns if turn.role == "system"] + turns[-1:])
    if len(shortest) >= context:
        with pytest.raises(ModelError, match="too long") as raised:
            fit_prompt(turns, context, render, len)
        assert raised.value.kind == "context"
        return
    fitted = fit_prompt(turns, context, render, len)
    first = 1 if system else 0
    assert fitted.prompt == render(turns[:first] + turns[first + fitted.dropped :])
    assert len(fitted.prompt) < context
    assert turns[first + fitted.dropped].role == "user"
    if fitted.dropped and len(shortest) <= context * (1 - FREED):
        assert len(fitted.prompt) <= context * (1 - FREED)


def test_a_conversation_that_fits_is_left_alone():
    turns = conversation([10, 20, 30], system=5)
    assert fit_prompt(turns, 500, render, len).dropped == 0


def test_what_was_dropped_stays_out_and_most_turns_extend_what_was_read():
    turns, dropped, read, reread = [], 0, [], 0
    for turn in range(60):
        turns.append(Turn("user", f"{turn:>20}"))
        fitted = fit_prompt(turns, 400, render, len, dropped)
        reread += fitted.prompt[: len(read)] != read
        assert fitted.dropped >= dropped
        read, dropped = fitted.prompt, fitted.dropped
        turns.append(Turn("assistant", "y" * 15))
        read = [*read, *render(turns[-1:])]
    assert dropped > 0
    assert reread <= 60 / 4


def test_a_message_many_times_too_long_is_refused_by_its_beginning():
    seen = []
    with pytest.raises(ModelError, match="more than 4,000 tokens") as raised:
        fit_prompt([Turn("user", "x" * 10**7)], 500, lambda turns: seen.append(turns), len)
    assert raised.value.kind == "context" and not seen


def test_an_answer_that_is_to_go_on_makes_room_by_what_is_oldest():
    turns = [*conversation([30, 30, 30]), Turn("assistant", "y" * 60)]
    fitted = fit_prompt(turns, 120, render, len)
    assert fitted.dropped == 2 and fitted.prompt == render(turns[2:])


def test_an_answer_that_alone_fills_the_context_has_no_room_to_go_on():
    for length in (100, 10**6):
        with pytest.raises(ModelError, match=r"no room to go on.*begin a new conversation") as raised:
            fit_prompt([Turn("user", "why?"), Turn("assistant", "y" * length)], 100, render, len)
        assert raised.value.kind == "context"


@given(lengths=LENGTHS, context=st.integers(40, 300))
def test_where_nothing_may_go_a_conversation_fits_whole_or_is_refused(lengths, context):
    turns = conversation(lengths)
    if len(render(turns)) >= context:
        with pytest.raises(ModelError, match=rf"context holds {context}; choose a longer one, let") as raised:
            whole_prompt(turns, context, render, len)
        assert raised.value.kind == "context"
    else:
        assert whole_prompt(turns, context, render, len) == Fitted(render(turns), 0)
    with pytest.raises(ModelError, match="more than"):
        whole_prompt([Turn("user", "x" * 10**6)], context, render, len)


@given(lengths=LENGTHS)
def test_a_conversation_is_counted_as_it_would_be_read(lengths):
    turns = conversation(lengths)
    assert tokens_in(turns, 50, render, len) == len(render(turns))


@pytest.mark.parametrize(("context", "looked_at"), [(500, 8 * 500), (UNBOUNDED, LOOKED_AT)])
def test_a_message_that_is_far_too_long_is_counted_by_its_beginning(context, looked_at):
    seen = []

    def measured(text):
        seen.append(len(text))
        return len(text) // 4

    counted = tokens_in([Turn("user", "x" * 10**7)], context, lambda turns: measured(turns[0].content) * [0], measured)
    assert counted == pytest.approx(10**7 / 4, rel=0.01) and max(seen) <= looked_at
