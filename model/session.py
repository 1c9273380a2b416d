"""A conversation's live state: which tokens the caches hold, and how the next prompt reuses them.

It knows tokens and caches, not text. It belongs to the thread that made its model.
"""

from collections.abc import Callable, Sequence

import mlx.core as mx

from model.cache import rewind
from model.errors import ModelError
from model.network import Network

Progress = Callable[[int, int], None]
"""Called with tokens read and tokens to read."""


class Cancelled(Exception):
    """The caller asked to stop. The session holds what was read until then and stays usable."""


def _never() -> bool:
    return False


def _ignore(done: int, total: int) -> None:
    pass


def token_id(token: mx.array) -> int:
    """The value of a scalar token array, waiting for it where it is not there yet."""
    value = token.item()
    assert isinstance(value, int)
    return value


class Session:
    """One conversation over one model.

    Whatever was computed before, `prefill` gives what a fresh session would: the caches are rewound to the longest
    prefix that they can return to, and the rest is computed.
    """

    def __init__(self, network: Network, context: int, chunk: int) -> None:
        """`context`: tokens it may hold; `chunk`: tokens read between two looks at `cancelled`."""
        self.context = context
        self._network = network
        self._chunk = chunk
        self._caches = network.make_cache()
        self._tokens: list[int] = []
        self._unread: list[mx.array] = []
        """Tokens fed by `step` whose values nobody has looked at yet."""

    @property
    def tokens(self) -> list[int]:
        """The tokens that the caches hold."""
        self._tokens += [token_id(token) for token in self._unread]
        self._unread.clear()
        return self._tokens

    def __len__(self) -> int:
        return len(self._tokens) + len(self._unread)

    @property
    def nbytes(self) -> int:
        """Bytes that the caches take."""
        return sum(cache.nbytes for cache in self._caches)

    def shared_prefix(self, tokens: Sequence[int]) -> int:
        """How many tokens at the start of `tokens` are in the caches already."""
        held = self.tokens
        limit = min(len(held), len(tokens))
        return next((index for index in range(limit) if held[index] != tokens[index]), limit)

    def prefill(
        self,
        tokens: Sequence[int],
        progress: Progress = _ignore,
        cancelled: Callable[[], bool] = _never,
    ) -> mx.array:
        """The logits (vocab,) of what follows `tokens`, which is the *whole* prompt.

        ModelError("request") for an empty prompt, ModelError("context") for one that leaves no room to answer;
        Cancelled where `cancelled` says so between two chunks.
        """
        if not tokens:
            raise ModelError("The prompt is empty; there is nothing to continue.", "request")
        if len(tokens) >= self.context:
            raise ModelError(
                f"The conversation is {len(tokens):,} tokens long and the context holds {self.context:,}; "
                "start a new conversation or shorten this one.",
                "context",
            )
        kept = min(self.shared_prefix(tokens), len(tokens) - 1)  # the last one is read again for its logits
        if rewind(self._caches, len(self) - kept):
            del self._tokens[kept:]
        else:
            self.reset()
            kept = 0
        return self._read(tokens, kept, progress, cancelled)

    def _read(self, tokens: Sequence[int], start: int, progress: Progress, cancelled: Callable[[], bool]) -> mx.array:
        total = len(tokens) - start
        try:
            while True:
                if cancelled():
                    raise Cancelled
                chunk = tokens[start : start + self._chunk]
                logits = self._network(mx.array([chunk]), self._caches, last=1)[0, -1]
                start += len(chunk)
                finished = start == len(tokens)
                # Before the last chunk only the caches matter: nothing is evaluated of the head's work.
                mx.eval(logits if finished else [], [cache.state for cache in self._caches])
                self._tokens += chunk
                progress(total - (len(tokens) - start), total)
                if finished:
                    return logits
        except Cancelled:
            raise
        except BaseException:
            self.reset()  # some layers may have gone further than others
            raise

    def step(self, token: mx.array) -> mx.array:
        """Append one token, a scalar array that need not be evaluated, and return the logits (vocab,) after it."""
        logits = self._network(token.reshape(1, 1), self._caches, last=1)[0, -1]
        self._unread.append(token)
        return logits

    def reset(self) -> None:
        """Hold nothing."""
        self._caches = self._network.make_cache()
        self._tokens, self._unread = [], []
