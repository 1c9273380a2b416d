"""How long a prompt is while its last message is typed: what stands around those words is rendered and counted once.

It knows no request, and no model but its tokenizer.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from model.errors import ModelError

if TYPE_CHECKING:
    from model.tokenizer import Around, Tokenizer, Turn


class Typed:
    """The prompt that was counted last, without its last words."""

    def __init__(self) -> None:
        self._rest: Hashable = None
        self._around: Around | None = None

    def length(self, rest: Hashable, content: str, context: int) -> int | None:
        """Tokens of the prompt with `content` in the last place; None where it has to be rendered to know: where the
        `rest` is another, or less than all of it might fit."""
        if self._around is None or len(content) > context or rest != self._rest:
            return None
        length = self._around.length(content)
        return length if length is not None and length < context else None

    def note(
        self,
        rest: Hashable,
        tokenizer: "Tokenizer",
        turns: "Sequence[Turn]",
        thinking: bool | None,
        dropped: int,
        length: int,
    ) -> None:
        """Remember a prompt of `length` tokens, which leaves out the oldest `dropped` of the `turns` behind a system
        prompt; `thinking` is how the template was asked to render it."""
        system = 1 if turns and turns[0].role == "system" else 0
        left = [*turns[:system], *turns[system + dropped :]]
        try:
            around = tokenizer.around(left, thinking=thinking) if left and left[-1].role == "user" else None
        except ModelError:  # a template that refuses what is no text
            around = None
        if around is not None and around.length(left[-1].content) != length:
            around = None  # it depends on the words in a way of its own
        self._rest, self._around = rest, around
