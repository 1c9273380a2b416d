"""How answers can be generated: what there is to choose, and the record of what was chosen.

Knows neither engines nor where a choice is kept; what is not chosen is the checkpoint's own.
"""

from typing import Literal

import msgspec

from app.fields import Field

_SAMPLING, _ANSWER, _CONTEXT = "Sampling", "Answer", "Context"

Overflow = Literal["oldest", "stop", "rolling"]
"""When the context is full: the oldest turns go; the conversation ends; or it rolls on, forgetting token by token."""


class GenerationSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person chose about how answers are generated; what is None was not chosen.

    A conversation's own stand over its model's, those over the program's, those over the checkpoint's.
    """

    temperature: float | None = None
    """0 is always the most likely token."""
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalty_decay: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    """The longest answer, in tokens."""
    context: int | None = None
    """Tokens of conversation that the model sees, at most what it can hold."""
    overflow: Overflow | None = None
    thinking: bool | None = None
    """Whether a model that can reason before it answers does so."""

    def over(self, other: "GenerationSettings") -> "GenerationSettings":
        """These, and of `other` what was not chosen here."""
        return GenerationSettings(
            **{
                name: chosen if (chosen := getattr(self, name)) is not None else getattr(other, name)
                for name in self.__struct_fields__
            }
        )


GENERATION_FIELDS = (
    Field(
        "temperature",
        _SAMPLING,
        "Temperature",
        "How freely words are chosen: 0 always takes the likeliest, above 1 surprises",
        "number",
        low=0,
        high=5,
        optional=True,
    ),
    Field(
        "top_p",
        _SAMPLING,
        "Top-p",
        "Choose among the likeliest tokens that together have this probability; 1 is all",
        "number",
        low=0,
        high=1,
        optional=True,
    ),
    Field(
        "top_k",
        _SAMPLING,
        "Top-k",
        "Choose among this many of the likeliest tokens; 0 is all",
        "integer",
        low=0,
        high=1_000_000,
        optional=True,
    ),
    Field(
        "min_p",
        _SAMPLING,
        "Min-p",
        "Leave out tokens less likely than this part of the likeliest; 0 leaves out none",
        "number",
        low=0,
        high=1,
        optional=True,
    ),
    Field(
        "repetition_penalty",
        _SAMPLING,
        "Repetition penalty",
        "Make tokens that were there before less likely; 1 does not",
        "number",
        low=0.1,
        high=10,
        optional=True,
    ),
    Field(
        "presence_penalty",
        _SAMPLING,
        "Presence penalty",
        "Make tokens that the answer has already less likely; 0 does not",
        "number",
        low=-2,
        high=2,
        optional=True,
    ),
    Field(
        "frequency_penalty",
        _SAMPLING,
        "Frequency penalty",
        "The same for each time that it has them; 0 does not",
        "number",
        low=-2,
        high=2,
        optional=True,
    ),
    Field(
        "penalty_decay",
        _SAMPLING,
        "Penalty decay",
        "How much of such a time counts still a token later; 1 forgets none",
        "number",
        low=0,
        high=1,
        optional=True,
    ),
    Field(
        "seed",
        _SAMPLING,
        "Seed",
        "The same seed gives the same answer to the same words",
        "integer",
        low=0,
        high=2**32 - 1,
        optional=True,
    ),
    Field(
        "max_tokens",
        _ANSWER,
        "Longest answer",
        "Where an answer is cut off",
        "integer",
        low=1,
        high=1_000_000,
        unit="tokens",
        optional=True,
    ),
    Field(
        "thinking",
        _ANSWER,
        "Thinking",
        "Whether a model that can reason before it answers does so",
        "switch",
        optional=True,
    ),
    Field(
        "context",
        _CONTEXT,
        "Context",
        "How much of the conversation the model sees, at most what it can hold",
        "integer",
        low=256,
        high=10_000_000,
        unit="tokens",
        optional=True,
    ),
    Field(
        "overflow",
        _CONTEXT,
        "When it is full",
        "What happens once the conversation is longer than the context",
        "choice",
        choices=(
            ("oldest", "the oldest messages go"),
            ("stop", "the conversation ends"),
            ("rolling", "it rolls on, token by token"),
        ),
        optional=True,
    ),
)
"""One for each of GenerationSettings, by the same name."""
