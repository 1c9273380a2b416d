"""When a conversation outgrows the context: which messages the model still reads.

The oldest turns go, the system prompt stays, and at least a quarter of the context is freed at once, so that not every
turn reads everything again. It knows messages and counts, no model.
"""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from model.errors import ModelError
from model.tokenizer import Turn

_CHARACTERS = 8
"""Of a token, more than most texts have: one so many times longer than the context is looked at first."""
LOOKED_AT = 1 << 20
"""Characters of a message: of a longer one no more are made into tokens only to count them."""
FREED = 1 / 4
"""The share of the context that is free again after turns were dropped."""


Prompt = TypeVar("Prompt", bound=Sized)


@dataclass(frozen=True)
class Fitted(Generic[Prompt]):
    """A prompt that fits."""

    prompt: Prompt
    dropped: int
    """How many of the oldest messages, the system prompt not among them, it leaves out."""


def fit_prompt(
    turns: Sequence[Turn],
    context: int,
    render: Callable[[Sequence[Turn]], Prompt],
    measure: Callable[[str], int],
    dropped: int = 0,
) -> Fitted[Prompt]:
    """The conversation as a prompt with room for an answer, or for the rest of one, in `context` tokens.

    `render` makes a prompt of messages, as long as it has tokens; `measure` counts the tokens of plain text. `dropped`:
    how many messages were left out the last time; they stay out, so that what the model has read stays as it is.
    ModelError("context") where even the last message alone does not fit, or the last answer with its question.
    """
    _refuse_far_too_long(turns, context, measure)
    system = 1 if turns and turns[0].role == "system" else 0
    starts = [index for index in range(system, len(turns)) if turns[index].role == "user"]
    before = max((start for start in starts if start - system <= dropped), default=system)
    prompt = render([*turns[:system], *turns[before:]])
    if len(prompt) < context:
        return Fitted(prompt, before - system)
    later = [start for start in starts if start > before]
    room = int(context * (1 - FREED))
    # The more is dropped the shorter it gets: the first start that leaves enough room, by halving.
    low, high = 0, len(later) - 1
    best: Fitted[Prompt] | None = None
    while low <= high:
        middle = (low + high) // 2
        tried = render([*turns[:system], *turns[later[middle] :]])
        if len(tried) <= room:
            best, high = Fitted(tried, later[middle] - system), middle - 1
        else:
            low = middle + 1
    if best is None and later:
        tried = render([*turns[:system], *turns[later[-1] :]])
        best = Fitted(tried, later[-1] - system) if len(tried) < context else None
    if best is None:
        raise _too_long(turns, f"{len(prompt) if not later else len(tried):,}", context)
    return best


def whole_prompt(
    turns: Sequence[Turn],
    context: int,
    render: Callable[[Sequence[Turn]], Prompt],
    measure: Callable[[str], int],
) -> Fitted[Prompt]:
    """The same where nothing may be left out. ModelError("context") where there is no room for an answer."""
    _refuse_far_too_long(turns, context, measure)
    prompt = render(turns)
    if len(prompt) >= context:
        raise ModelError(
            f"The conversation is {len(prompt):,} tokens long and the context holds {context:,}; choose a longer "
            "one, let the oldest messages go, or begin a new conversation.",
            "context",
        )
    return Fitted(prompt, 0)


def tokens_in(
    turns: Sequence[Turn],
    context: int,
    render: Callable[[Sequence[Turn]], Sized],
    measure: Callable[[str], int],
) -> int:
    """How many tokens the conversation is as a prompt, whether or not it fits.

    Estimated by its beginning for a message many times longer than the context, which need not be read to say so, and
    for one that takes long to read.
    """
    most = min(_CHARACTERS * context, LOOKED_AT)
    beyond = sum(
        measure(turn.content[:most]) * (len(turn.content) - most) / most for turn in turns if len(turn.content) > most
    )
    return len(render([replace(turn, content=turn.content[:most]) for turn in turns])) + round(beyond)


def _refuse_far_too_long(turns: Sequence[Turn], context: int, measure: Callable[[str], int]) -> None:
    """Refuse a last message whose beginning alone fills the context, before all of it is made into tokens."""
    text = turns[-1].content if turns else ""
    start = text[: _CHARACTERS * context]
    if len(start) < len(text) and (count := measure(start)) > context:
        raise _too_long(turns, f"more than {count:,}", context)


def _too_long(turns: Sequence[Turn], length: str, context: int) -> ModelError:
    if turns[-1].role == "assistant":
        return ModelError(
            f"The answer has no room to go on: with what must stand before it, it is {length} tokens long and the "
            f"context holds {context:,}; begin a new conversation, or choose a longer context or a model that has one.",
            "context",
        )
    return ModelError(
        f"The message is too long: with what must stand before it, it is {length} tokens long and the context "
        f"holds {context:,}; shorten it, or choose a longer context or a model that has one.",
        "context",
    )
