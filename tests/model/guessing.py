"""Guesses for tests: right or wrong as they are to be, and always read."""

from collections.abc import Callable, Sequence

from model import Sampling
from model.lookahead import STRENGTHS, Costs, Drafts, Gate, Lookahead, Lookup

GREEDY = Sampling(temperature=0)


class Willing(Gate):
    """Has everything read that anybody guesses, so many tokens at once."""

    def __init__(self, length: int) -> None:
        super().__init__(Costs())
        self._always = length

    def length(self, strength: int) -> int:
        return self._always


class Knowing(Drafts):
    """Knows what will come, and says something else where it is told to: at the places of `wrong`."""

    def __init__(self, answer: Sequence[int], wrong: Sequence[bool]) -> None:
        self._says = [token ^ lie for token, lie in zip(answer, wrong, strict=True)]
        self._at = 0

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        self._at = 1

    @property
    def strength(self) -> int | None:
        return self._at % STRENGTHS if self._at < len(self._says) else None

    @property
    def next(self) -> int | None:
        return self._says[self._at] if self._at < len(self._says) else None

    def add(self, token: int) -> None:
        self._at += 1

    def propose(self, most: int) -> list[int]:
        return self._says[self._at : self._at + most]


def guessing(answer: Sequence[int], wrong: Sequence[bool] | None = None, length: int = 7) -> Lookahead:
    """Guesses `answer`, which is how the model goes on, but for some words, and has it all read."""
    return Lookahead([(Knowing(answer, wrong or [False] * len(answer)), Willing(length))])


def looking_up(length: int = 7) -> Lookahead:
    """Guesses what was there before, and has it all read."""
    return Lookahead([(Lookup(), Willing(length))])
