"""Looking ahead while an answer is written: guesses of what comes next, and when it pays to have them read at once.

A model reads several tokens in hardly more time than one. So what may come is guessed, from where the same tokens stood
before or by a smaller model, and the model reads guess and present token in one pass: as far as it would have drawn the
same, it has written several tokens in that pass, and none that it would not have written. Guessing by looking up is
Yang et al. 2023 (arXiv 2304.04487), a smaller model that drafts Leviathan et al. 2023 (arXiv 2211.17192).

It knows neither how tokens are drawn nor how a pass is made; `model.generation` does both.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Protocol

import mlx.core as mx

from model.session import Cancelled, Session

LENGTHS = (1, 3, 7, 15)
"""Tokens that a draft may have: with the one before it 2, 4, 8 or 16 are read at once."""
LONGEST = LENGTHS[-1]


class Drafts(Protocol):
    """Where guesses come from. It is told every token of the answer, whoever guessed it."""

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        """`tokens` are all there are so far, the first of the answer included. The model works meanwhile."""

    @property
    def strength(self) -> int | None:
        """How good a guess would be now, as one of `STRENGTHS`; None where there is nothing to guess from."""

    @property
    def next(self) -> int | None:
        """What it expects to come next, where it knows without any work."""

    def add(self, token: int) -> None:
        """The token that has come."""

    def propose(self, most: int) -> list[int]:
        """What may come now, `most` tokens at most."""


STRENGTHS = 4
"""Guesses of different strength are judged apart: each by what became of those like it."""


class Lookup:
    """Guesses that what followed these last tokens before will follow again, in the prompt or the answer so far.

    Every run of `_RUN` tokens is kept with the place behind its latest end, so that a token costs one look into a
    table, however long the conversation. As long as what it expects comes, it stays with the place that it reads from.
    """

    _RUN = 2
    _LONGER = (3, 5, 9)
    """Tokens of agreement from which on a guess is stronger."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}
        """Where the latest run of these tokens ended: the place of what followed it."""
        self._at = 0
        self._agreed = 0
        """How many tokens before `_at` are known to be the same as the last ones; 0 where no place is known."""

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool] = lambda: False) -> None:
        self._tokens = list(tokens)
        runs = zip(*(self._tokens[start:-1] for start in range(self._RUN)), strict=False)
        self._behind = dict(zip(runs, range(self._RUN, len(self._tokens)), strict=False))
        self._look_up()

    @property
    def strength(self) -> int | None:
        return sum(self._agreed >= longer for longer in self._LONGER) if self._agreed else None

    @property
    def next(self) -> int | None:
        return self._tokens[self._at] if self._agreed else None

    def add(self, token: int) -> None:
        agrees = token == self.next
        self._tokens.append(token)
        if agrees:
            self._at, self._agreed = self._at + 1, self._agreed + 1
            self._behind[self._last()] = len(self._tokens)
        else:
            self._look_up()

    def propose(self, most: int) -> list[int]:
        if not self._agreed:
            return []
        known = self._tokens[self._at : self._at + most]
        return (known * -(-most // len(known)))[:most]  # what repeats itself reaches into its own guess

    def _last(self) -> tuple[int, ...]:
        return tuple(self._tokens[-self._RUN :])

    def _look_up(self) -> None:
        """Find where the last tokens stood before, and note where they stand now."""
        last = self._last()
        at = self._behind.get(last)
        self._at, self._agreed = (at, self._RUN) if at is not None else (0, 0)
        self._behind[last] = len(self._tokens)


class Drafter:
    """Guesses what a smaller model over the same tokens would write, the likeliest each time.

    Its session holds the conversation too, and is best kept for the next answer.
    """

    _AT_ONCE = 64
    """Tokens of the answer that it catches up on in one pass; more are read as a prompt is."""

    def __init__(self, session: Session, vocabulary: int) -> None:
        """`vocabulary`: ids that are tokens, from 0."""
        self._session = session
        self._vocabulary = vocabulary
        self._tokens: list[int] = []
        self._guess: list[int] = []
        """What it proposed last."""
        self._came = 0
        """How many tokens have come since then."""
        self._right = 0
        """How many of these were as guessed, from the first on."""
        self._cancelled: Callable[[], bool] = lambda: False

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool] = lambda: False) -> None:
        self._tokens, self._cancelled = list(tokens), cancelled
        if self._has_room:
            self._read()

    @property
    def strength(self) -> int | None:
        return 2 if self._has_room and not self._cancelled() else None

    @property
    def next(self) -> int | None:
        return self._guess[self._came] if self._right == self._came < len(self._guess) else None

    def add(self, token: int) -> None:
        self._right += token == self.next
        self._came += 1
        self._tokens.append(token)

    def propose(self, most: int) -> list[int]:
        logits = self._caught_up()
        if logits is None:
            return []
        drawn = [self._likeliest(logits)]
        while len(drawn) < most:
            drawn.append(self._likeliest(self._session.step(drawn[-1])))
        guess: Any = mx.stack(drawn).tolist()
        self._guess, self._came, self._right = guess, 0, 0
        return list(guess)

    @property
    def _has_room(self) -> bool:
        return len(self._tokens) + LONGEST < self._session.context

    def _likeliest(self, logits: mx.array) -> mx.array:
        return mx.argmax(logits[: self._vocabulary])

    def _caught_up(self) -> mx.array | None:
        """The logits behind all tokens so far; None where reading them was given up."""
        fed = max(0, len(self._guess) - 1)  # of the last guess all but its end
        right = min(self._right, fed)
        behind = self._came - right
        if not self._guess or not 0 < behind <= self._AT_ONCE:
            return self._read()
        self._session.take_back(fed - right)
        return self._session.extend(self._tokens[-behind:])[-1]

    def _read(self) -> mx.array | None:
        try:
            return self._session.prefill(self._tokens, cancelled=self._cancelled)
        except Cancelled:
            return None


class Costs:
    """What a pass over a draft takes, in single steps, by the draft's length. Kept from answer to answer."""

    _A_TOKEN = 0.08
    """What a drafted token adds to a pass, where nothing has been measured yet."""
    _FIRST, _LATER = 0.8, 0.3
    """Weights of what is measured, against what was known before."""
    _UNTRIED = 7
    """Tokens that a draft may have while nothing has been measured."""

    def __init__(self) -> None:
        self._known = {length: 1 + self._A_TOKEN * length for length in LENGTHS}
        self._measured: set[int] = set()
        self.restart = 0.1
        """What it adds to a step that it could not be queued before the one before it was done."""

    def of(self, length: int) -> float:
        """For a draft of one of `LENGTHS`."""
        return self._known[length]

    def dares(self, length: int) -> bool:
        """Whether drafts of so many tokens may be tried: longest ones once shorter ones have told what to expect. A
        device that gains nothing by reading several at once would lose as many steps as it is given tokens."""
        return length <= self._UNTRIED or bool(self._measured)

    def passed(self, length: int, steps: float) -> None:
        """A draft of `length` was read, in the time of so many `steps`. It tells of those never tried too."""
        length = next(known for known in LENGTHS if known >= length)
        weight, most = (self._LATER, 2) if length in self._measured else (self._FIRST, 4)
        self._known[length] = known = _blended(self._known[length], steps, weight, most)
        self._measured.add(length)
        for other in LENGTHS:
            if other not in self._measured:
                self._known[other] = 1 + (known - 1) * other / length

    def restarted(self, steps: float) -> None:
        self.restart = min(1.0, max(0.0, _blended(1 + self.restart, steps, self._LATER) - 1))


class Gate:
    """Whether to have guesses read, and how long ones: by how often they were right, and what reading them took.

    A guess is compared with what came also while none is read, so that text without repetition costs nothing but the
    comparison. And there is an account, in single steps: what passes gain comes in, what they lose goes out, and while
    it is empty no more are made; single steps bring in a little, for the next try.
    """

    PAYS = 1.05
    """Times as many tokens a second that a pass has to promise."""
    _RIGHT = (0.3, 0.5, 0.7, 0.9)
    """How often guesses are right, by strength, before anything is known."""
    _WEIGHT = 2.0
    """In guesses, of that beginning."""
    _KEPT = 0.92
    """Of what was known with every further guess: the last dozen decide."""
    _FIRST, _MOST, _EARNED = 1.5, 3.0, 0.01
    """The account in the beginning, at most, and what a single step adds."""
    _TRIAL = 3
    """Tokens that are drafted against all promises where the account is full: costs change too."""
    _STEPS = 2
    """Single steps to be measured before anything is compared with them."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._right = [share * self._WEIGHT for share in self._RIGHT]
        self._guesses = [self._WEIGHT] * STRENGTHS
        self._step: float | None = None
        """Seconds of a single step."""
        self._steps = 0
        self._account = self._FIRST

    def length(self, strength: int) -> int:
        """How many tokens a draft should have; 0 for none."""
        if self._steps < self._STEPS or self._account <= 0:
            return 0
        right = min(0.99, self._right[strength] / self._guesses[strength])
        best, most = self._TRIAL if self._account == self._MOST else 0, self.PAYS
        for length in filter(self._costs.dares, LENGTHS):
            all_right = right**length
            tokens = (1 - right * all_right) / (1 - right)  # 1 + right + right^2 + ... + right^length
            promised = tokens / (self._costs.of(length) + (1 - all_right) * self._costs.restart)
            if promised >= most:
                best, most = length, promised
        return best

    def judge(self, strength: int, right: bool) -> None:
        """A guess has turned out right or wrong, whether or not it was read."""
        self._right[strength] = self._KEPT * self._right[strength] + right
        self._guesses[strength] = self._KEPT * self._guesses[strength] + 1

    def stepped(self, seconds: float) -> None:
        """A single step was made, the next one queued behind it."""
        self._step = seconds if self._step is None else _blended(self._step, seconds, 0.1)
        self._steps += 1
        self._enter(self._EARNED)

    def restarted(self, seconds: float) -> None:
        """A single step was made that had not been queued in time, for the sake of a guess."""
        if self._step:
            self._costs.restarted(seconds / self._step)
            self._enter(max(-1.0, 1 - seconds / self._step))

    def passed(self, length: int, kept: int, seconds: float) -> None:
        """A draft was read."""
        if self._step:
            steps = seconds / self._step
            self._enter(kept + 1 - min(steps, 2 * (length + 1)))
            self._costs.passed(length, steps)

    def _enter(self, steps: float) -> None:
        self._account = min(self._MOST, self._account + steps)


def _blended(known: float, new: float, weight: float, most: float = 2) -> float:
    """`known` moved towards `new`, which counts for `most` times it, or that part of it, at most: machines hiccup."""
    return known + weight * (min(max(new, known / most), known * most) - known)


class Lookahead:
    """The drafts of one answer, from the first of its sources that has one which pays."""

    def __init__(
        self, sources: Sequence[tuple[Drafts, Gate]] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Without sources it never has any."""
        self.drafted = self.kept = 0
        """Tokens that were guessed and read, and those of them that stand."""
        self._sources = list(sources)
        self._clock = clock
        self._known_at = 0.0
        self._queued = False
        """Whether the step of the next token was queued before the last one was known."""
        self._told = False
        """Whether the token under way is one that a pass has told of already."""
        self._source: tuple[Drafts, Gate] | None = None
        """Whose draft is being read."""

    def begin(self, tokens: Sequence[int], cancelled: Callable[[], bool]) -> None:
        """`tokens` are all that is known, up to the first of the answer."""
        for drafts, _ in self._sources:
            drafts.begin(tokens, cancelled)
        self._known_at = self._clock()

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Time that others take with what they are given is none of ours."""
        started = self._clock()
        yield
        self._known_at += self._clock() - started

    def hopes(self) -> bool:
        """Whether to let the token under way come, with nothing queued behind it, because a draft may pay then."""
        return any(self._length(source) for source in self._sources)

    def came(self, token: int, queued: bool) -> None:
        """A token that was under way is known; `queued`: the step behind it had been queued by then."""
        if self._told:
            self._told = False
            return
        seconds = self._lap()
        for _, gate in self._sources:
            (gate.stepped if self._queued else gate.restarted)(seconds)
        self._add(token)
        self._queued = queued

    def draft(self, most: int, ends: frozenset[int]) -> list[int]:
        """What may come behind all that is known, `most` tokens at most and before one that `ends` the answer.

        Nothing where no guess would pay.
        """
        for source in self._sources:
            length = min(most, self._length(source))
            if length > 0 and (guess := source[0].propose(length)):
                self._source = source
                return list(takewhile(lambda token: token not in ends, guess))
        return []

    def judged(self, guess: Sequence[int], drawn: Sequence[int]) -> int:
        """How much of `guess` stands, where the model has `drawn` one token more than there were guessed.

        With the token behind what stands, that is what has come.
        """
        kept = next((at for at, token in enumerate(guess) if drawn[at] != token), len(guess))
        assert self._source
        self._source[1].passed(len(guess), kept, self._lap())
        self.drafted += len(guess)
        self.kept += kept
        for token in drawn[: kept + 1]:
            self._add(token)
        self._queued, self._told = False, True
        return kept

    def _length(self, source: tuple[Drafts, Gate]) -> int:
        drafts, gate = source
        return 0 if drafts.strength is None else gate.length(drafts.strength)

    def _add(self, token: int) -> None:
        for drafts, gate in self._sources:
            if drafts.next is not None and drafts.strength is not None:
                gate.judge(drafts.strength, drafts.next == token)
            drafts.add(token)

    def _lap(self) -> float:
        now = self._clock()
        seconds, self._known_at = now - self._known_at, now
        return seconds
