"""Writing an answer: one token after another, and the text they amount to.

Text is given out as soon as it is certain: never half a character, nothing of a stop string, reasoning apart from the
answer. It knows neither templates nor conversations.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx

from model.lookahead import Lookahead
from model.sampling import Sampler, Sampling, token_id
from model.session import Cancelled, Progress, Session
from model.tokenizer import Tokenizer

Part = Literal["answer", "reasoning"]
Reason = Literal["stop", "length", "context", "cancelled"]

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Piece:
    """Text that has become certain, and whether it is the answer or the reasoning before it."""

    part: Part
    text: str


@dataclass(frozen=True)
class Token:
    """One step of an answer."""

    id: int
    pieces: tuple[Piece, ...] = ()
    """What became certain with this token: nothing while a character or a stop string is incomplete."""
    ends: bool = False
    """Whether it ended the answer; its id is then no part of the answer's text."""

    @property
    def text(self) -> str:
        """Answer and reasoning alike."""
        return "".join(piece.text for piece in self.pieces)


class TextFlow:
    """Turns tokens into pieces: decodes, finds stop strings across tokens, and tells reasoning from answer.

    Pieces depend on the text alone, not on how it is split into tokens. The stop string that is complete first ends the
    answer, in reasoning too. <think> opens reasoning at the very start only, </think> ends it; the tags, and the line
    breaks behind them, are no text.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = (), thinking: bool = False, lead: str = "") -> None:
        """`thinking`: the prompt has opened the reasoning already; `lead`: what the model writes first to complete the
        prompt, as far as it does, is no text either (`Tokenizer.lead`)."""
        self.stopped = False
        """Whether a stop string was found: then nothing more becomes certain."""
        self._detokenizer = tokenizer.detokenizer()
        self._stops = [stop for stop in stops if stop]
        self._part: Part = "reasoning" if thinking else "answer"
        self._lead = lead
        self._may_open = not thinking
        """Whether reasoning may still begin: only at the very start of what the model writes."""
        self._at_start = thinking or "\n" in lead
        """Whether line breaks come before the part's first word, and are dropped."""
        self._held = ""

    def add(self, token: int) -> tuple[Piece, ...]:
        """What `token` makes certain."""
        self._held += self._detokenizer.add(token)
        return self._release()

    def flush(self) -> tuple[Piece, ...]:
        """The rest, at the end of the answer."""
        self._held += self._detokenizer.flush()
        return self._release(final=True)

    def _release(self, final: bool = False) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        self._drop_lead()
        while not self.stopped and self._part_is_known(final):
            if self._at_start:
                self._held = self._held.lstrip("\n")
                self._at_start = not self._held
            markers = [*self._stops, THINK_CLOSE] if self._part == "reasoning" else self._stops
            found = _first(self._held, markers)
            if found is None:
                self._take(len(self._held) if final else _certain(self._held, markers), pieces)
                break
            at, marker = found
            self._take(at, pieces)
            if marker == THINK_CLOSE and self._part == "reasoning":
                self._held = self._held[len(marker) :]
                self._part, self._at_start = "answer", True
            else:
                self._held, self.stopped = "", True
        return tuple(pieces)

    def _drop_lead(self) -> None:
        while self._lead and self._held:
            same = self._held[0] == self._lead[0]
            self._held, self._lead = (self._held[1:], self._lead[1:]) if same else (self._held, "")

    def _part_is_known(self, final: bool) -> bool:
        """Whether the text so far tells if it begins with reasoning; consumes the tag that opens it."""
        if self._may_open:
            text = self._held.lstrip()
            if text.startswith(THINK_OPEN):
                self._held, self._part, self._at_start = text[len(THINK_OPEN) :], "reasoning", True
            elif THINK_OPEN.startswith(text) and not final:
                return False
            self._may_open = False
        return True

    def _take(self, length: int, pieces: list[Piece]) -> None:
        if length:
            pieces.append(Piece(self._part, self._held[:length]))
            self._held = self._held[length:]


def _first(text: str, markers: Sequence[str]) -> tuple[int, str] | None:
    """Where the marker begins that is complete first, and which; the longest of those that end together.

    By its end and not its beginning: what is complete now cannot wait for a longer one that may never come.
    """
    found = [(text.find(marker) + len(marker), -len(marker), marker) for marker in markers if marker in text]
    if not found:
        return None
    end, _, marker = min(found)
    return end - len(marker), marker


def _certain(text: str, markers: Sequence[str]) -> int:
    """How much of `text` cannot be the beginning of a marker."""
    longest = max((len(marker) for marker in markers), default=1) - 1
    for start in range(max(0, len(text) - longest), len(text)):
        if any(marker.startswith(text[start:]) for marker in markers):
            return start
    return len(text)


class Generation:
    """One answer being written. Iterate, once, for its tokens; what it took is in the attributes, valid at any moment.

    The next token is under way before the present one is given out, so that the device never waits for Python: the
    session holds what was given out, but for the last token of an answer that ran to its limit. Whoever stops iterating
    leaves the session usable; an error while writing leaves it empty. ModelError as in `Session.prefill`, and where the
    model computes no numbers.
    """

    def __init__(
        self,
        session: Session,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        begun: Sequence[int] = (),
        vocabulary: int,
        uncounted: frozenset[int] = frozenset(),
        ends: frozenset[int] = frozenset(),
        flow: TextFlow | None = None,
        max_tokens: int | None = None,
        progress: Progress = lambda done, total: None,
        cancelled: Callable[[], bool] = lambda: False,
        lookahead: Lookahead | None = None,
    ) -> None:
        """`begun`: what an answer that is to go on has already, behind the prompt; behind an id that ends it nothing
        comes. `vocabulary`: ids that may be drawn, from 0; `uncounted`: those that may come again and again
        (see `Past.of`); `ends`: those that end an answer; `flow`: a fresh one, None gives tokens without text;
        `max_tokens`: new ones, None is as many as the context holds, 0 reads nothing; `lookahead`: a fresh one, which
        makes it faster at most.
        """
        self.reason: Reason = "cancelled"
        """Why it ended; "cancelled" until it has, and where it was abandoned."""
        self.begun = list(begun)
        """What the answer had already, without the id that ended it."""
        self._ended = bool(begun) and begun[-1] in ends
        if self._ended:
            self.begun.pop()
        self.prompt_tokens = len(prompt) + len(self.begun)
        self.reused_tokens = 0
        """Tokens before the new ones that did not have to be read."""
        self.token_ids: list[int] = []
        """What was written, without the id that ended it; with those of reasoning and of a stop string."""
        self.restated = tuple(piece for token in self.begun for piece in flow.add(token)) if flow else ()
        """The text of what was `begun`, as far as it is certain; the pieces to come go behind it."""
        self.prefill_seconds = self.first_token_seconds = self.decode_seconds = 0.0
        """For reading the prompt; until the first token, reading included; from the first token to the latest."""
        self._session = session
        self._prompt = [*prompt, *self.begun]
        self._sampler = Sampler(sampling, vocabulary, self._prompt, len(self.begun), uncounted)
        self._ends = ends
        self._flow = flow
        self._limit = max_tokens
        self._progress = progress
        self._cancelled = cancelled
        self._lookahead = lookahead if lookahead and session.takes_back else Lookahead()
        self._beyond = 0
        """How many tokens the session holds behind the one that was given out last."""
        self._prompts = 0
        """How many prompts the session had been given when this one was read."""

    @property
    def drafted_tokens(self) -> int:
        """How many tokens were guessed and read."""
        return self._lookahead.drafted

    @property
    def kept_tokens(self) -> int:
        """How many of them stand in the answer."""
        return self._lookahead.kept

    def __iter__(self) -> Iterator[Token]:
        started = time.perf_counter()
        if self._limit is not None and self._limit <= 0:
            self.reason = "length"
            return
        if self._ended or (self._flow and self._flow.stopped):
            self.reason = "stop"  # it had come to its end already
            return
        try:
            logits = self._session.prefill(self._prompt, self._count_read, self._cancelled)
        except Cancelled:
            return
        self.prefill_seconds = time.perf_counter() - started
        self._prompts = self._session.prompts
        token = self._sampler(logits)
        mx.async_eval(token)
        try:
            for chosen, last in self._chosen(token):
                now = time.perf_counter() - started
                if not self.token_ids:
                    self.first_token_seconds = now
                self.decode_seconds = now - self.first_token_seconds
                given = self._token(chosen, last)
                with self._lookahead.unwatched():
                    yield given
                if self.reason == "stop" or last or self._cancelled():
                    break
            self._give_back()
        except GeneratorExit:
            self._give_back()
            raise
        except BaseException:
            self._session.reset()  # it holds a token that was not computed, or numbers that are none
            raise

    def _count_read(self, done: int, total: int) -> None:
        self.reused_tokens = self.prompt_tokens - total
        self._progress(done, total)

    def _chosen(self, token: mx.array) -> Iterator[tuple[int, bool]]:
        """The ids of the answer, from `token` on, which is under way, and whether each is the last.

        The session holds each when it is given out, but for the last.
        """
        following, chosen = self._advance(token)
        yield chosen, following is None
        self._lookahead.begin([*self._prompt, chosen], self._cancelled)
        while following is not None:
            token, room = following, self._room()
            if room > 0 and self._lookahead.hopes():
                chosen = token_id(token)
                self._lookahead.came(chosen, queued=False)
                if chosen not in self._ends and (guess := self._lookahead.draft(room, self._ends)):
                    following = yield from self._verified(chosen, guess)
                    continue
                following = self._ahead(token)
            else:
                following, chosen = self._advance(token)
                self._lookahead.came(chosen, queued=True)
            yield chosen, following is None

    def _room(self) -> int:
        """How many tokens may be guessed behind the one under way, such that one more may come behind them."""
        room = self._session.context - len(self._session) - 2
        return room if self._limit is None else min(room, self._limit - len(self.token_ids) - 2)

    def _advance(self, token: mx.array) -> tuple[mx.array | None, int]:
        """The token after `token`, under way, and what `token` is."""
        following = self._following(token)
        if following is None:
            return None, token_id(token)
        self._session.begin_step()
        chosen = token_id(token)
        mx.async_eval(following)
        return following, chosen

    def _verified(self, chosen: int, guess: list[int]) -> Generator[tuple[int, bool], None, mx.array]:
        """`chosen`, and what stands of the `guess` behind it, all read in one pass; gives the token after these.

        A guess stands while it is what the sampler draws, which so draws as often, and the same, as it would have
        without one.
        """
        rows = self._session.extend([chosen, *guess])
        self._beyond = len(guess)
        drawn, states = [], []
        for row in range(len(guess) + 1):
            drawn.append(self._sampler(rows[row]))
            states.append(self._sampler.state)
        mx.async_eval(drawn)
        yield chosen, False
        values: Any = mx.stack(drawn).tolist()
        kept = self._lookahead.judged(guess, values)
        self._sampler.restore(states[kept])
        self._session.take_back(len(guess) - kept)
        self._beyond = kept
        for token in guess[:kept]:
            self._beyond -= 1
            yield token, False
        return drawn[kept]

    def _give_back(self) -> None:
        """Let the session hold no more than was given out, where a pass had told more than was wanted."""
        if self._beyond and self._prompts == self._session.prompts:
            self._session.take_back(self._beyond)
            self._beyond = 0

    def _ahead(self, token: mx.array) -> mx.array | None:
        """Start the token after `token`; None where there will be none."""
        following = self._following(token)
        if following is not None:
            mx.async_eval(following)
        return following

    def _following(self, token: mx.array) -> mx.array | None:
        """The token after `token`, not queued yet; None where there will be none."""
        written = len(self.token_ids) + 1
        if self._limit is not None and written >= self._limit:
            self.reason = "length"
            return None
        if len(self._session) + 1 >= self._session.context:
            self.reason = "context"
            return None
        return self._sampler(self._session.step(token))

    def _token(self, chosen: int, last: bool) -> Token:
        if chosen in self._ends:
            self.reason = "stop"
            return Token(chosen, self._flow.flush() if self._flow else (), ends=True)
        self.token_ids.append(chosen)
        if self._flow is None:
            return Token(chosen)
        pieces = self._flow.add(chosen)
        if self._flow.stopped:
            self.reason = "stop"
        elif last:
            pieces += self._flow.flush()
        return Token(chosen, pieces)

    def rest(self) -> tuple[Piece, ...]:
        """The text still held back when an answer was cancelled; nothing where it ended by itself."""
        return self._flow.flush() if self._flow else ()
