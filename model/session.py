"""A conversation's live state: which tokens the caches hold, and how the next prompt reuses them.

It knows tokens and caches, not text. It belongs to the thread that made its model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from model.allocation import SNAPSHOT_BYTES, SNAPSHOTS
from model.cache import CacheOptions, FullCache, LayerCache, RecurrentCache, RotatingCache, Snapshot, rewind
from model.errors import ModelError
from model.network import Network
from model.prefix import shared_prefix
from model.sampling import token_id

Progress = Callable[[int, int], None]
"""Called with tokens read and tokens to read."""

_SAVED_MARKS = 2
"""Points to return to that are saved: the last question and the end of the answer before it."""


class Cancelled(Exception):
    """The caller asked to stop. The session holds what was read until then and stays usable."""


def _never() -> bool:
    return False


def _ignore(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class SessionOptions:
    """How a session reads and keeps. Tokens and bytes."""

    context: int
    """Tokens it may hold; with a rolling window, positions it may count to."""
    chunk: int = 512
    """Tokens of a prompt read between two looks at cancellation."""
    caches: CacheOptions = field(default_factory=CacheOptions)
    snapshot_bytes: int = SNAPSHOT_BYTES
    """What all snapshots together may take; the oldest go first."""
    snapshots: int = SNAPSHOTS
    """How many at most: the prompt's end and the answer's end of the last four turns."""


@dataclass(frozen=True)
class Mark:
    """A point that a session can return to: all layers as they were after `position` tokens."""

    position: int
    layers: tuple[Snapshot, ...]
    logits: mx.array | None
    """What followed, where it was known: then nothing has to be read again to answer differently."""

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers) + (self.logits.nbytes if self.logits is not None else 0)


class Session:
    """One conversation over one model.

    Whatever was computed before, `prefill` gives what a fresh session would: the caches are rewound, or put back to a
    snapshot, to share the longest prefix they can with the new prompt, and the rest is computed. An error on the way
    leaves an empty session, never a wrong one.
    """

    def __init__(self, network: Network, options: SessionOptions, fingerprint: str = "") -> None:
        """`fingerprint` names the model in what `save` writes."""
        self.options = options
        """Others with the same caches may take their place: what is held stays, and the new limits apply."""
        self.fingerprint = fingerprint
        self._network = network
        self._caches = self._fresh()
        self._tokens: list[int] = []
        self._unread: list[mx.array] = []
        """Tokens fed by `step` whose values nobody has looked at yet."""
        self.prompts = 0
        """How many it was given: what was written behind an earlier one is no longer its writer's to take back."""
        self._marks: list[Mark] = []
        """Points to return to, by position; every one of them lies on the present tokens."""

    @property
    def context(self) -> int:
        return self.options.context

    @property
    def tokens(self) -> list[int]:
        """The tokens that the caches hold, a copy. Waits for what is not computed yet, and raises what went wrong."""
        return list(self._known())

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The points behind it that it can return to without reading, by position."""
        return tuple(self._marks)

    def __len__(self) -> int:
        return len(self._tokens) + len(self._unread)

    @property
    def nbytes(self) -> int:
        """Bytes that the caches and snapshots take."""
        return sum(cache.nbytes for cache in self._caches) + sum(mark.nbytes for mark in self._marks)

    def shared_prefix(self, tokens: Sequence[int]) -> int:
        """How many tokens at the start of `tokens` are in the caches already."""
        return shared_prefix(self._known(), tokens)

    # --- reading ---

    def prefill(
        self,
        tokens: Sequence[int],
        progress: Progress = _ignore,
        cancelled: Callable[[], bool] = _never,
    ) -> mx.array:
        """The logits (vocab,), in the model's own float type, of what follows `tokens`, which is the *whole* prompt.

        The ids must be rows of the model's embedding. ModelError("request") for an empty prompt, ModelError("context")
        for one that leaves no room to answer; Cancelled where `cancelled` says so before a chunk.
        """
        tokens = list(tokens)
        self.prompts += 1
        if not tokens:
            raise ModelError("The prompt is empty; there is nothing to continue.", "request")
        if len(tokens) >= self.context:
            raise ModelError(
                f"The conversation is {len(tokens):,} tokens long and the context holds {self.context:,}; "
                "start a new conversation or shorten this one.",
                "context",
            )
        try:
            shared = self.shared_prefix(tokens)
            if shared == len(self):
                self._mark()  # the end of an answer: where an edit of what comes now will want to return to
            known = self._return_to(shared, tokens)
            if known is not None:
                progress(0, 0)
                return known
            return self._read(tokens, progress, cancelled)
        except Cancelled:
            raise
        except BaseException:
            self.reset()  # some layers may have gone further than others
            raise

    def _return_to(self, shared: int, tokens: Sequence[int]) -> mx.array | None:
        """Hold as many of the first `shared` tokens as can be; the logits that follow `tokens`, if they are known."""
        usable = [mark for mark in self._marks if mark.position <= shared]
        last = usable[-1] if usable else None
        if last and last.position == len(tokens) and last.logits is not None:
            self._restore(last)
            return last.logits
        wanted = min(shared, len(tokens) - 1)  # at least one token has to be read, for its logits
        back = len(self) - wanted
        if rewind(self._caches, back):
            self._cut(wanted)
            if back == 1 and wanted == shared:
                self._mark()  # the same, but for the token that ended it
            return None
        for mark in reversed(usable):
            if mark.position <= wanted:
                self._restore(mark)
                return None
        self.reset()
        return None

    def _restore(self, mark: Mark) -> None:
        for cache, layer in zip(self._caches, mark.layers, strict=True):
            if not cache.restore(layer):
                raise RuntimeError(
                    f"{type(cache).__name__} cannot return to {mark.position}, which it never went below"
                )
        self._cut(mark.position)

    def _cut(self, position: int) -> None:
        del self._known()[position:]
        self._marks = [mark for mark in self._marks if mark.position <= position]

    def _read(self, tokens: list[int], progress: Progress, cancelled: Callable[[], bool]) -> mx.array:
        start = len(self)
        total = len(tokens) - start
        while True:
            if cancelled():
                raise Cancelled
            chunk = tokens[start : start + self.options.chunk]
            logits = self._network(mx.array([chunk]), self._caches, last=1)[0, -1]
            start += len(chunk)
            finished = start == len(tokens)
            # Before the last chunk only the caches matter: nothing is evaluated of the head's work.
            mx.eval(logits if finished else [], [cache.state for cache in self._caches])
            self._tokens += chunk
            progress(total - (len(tokens) - start), total)
            if finished:
                self._mark(logits)
                return logits

    def step(self, token: mx.array) -> mx.array:
        """Append one token, a scalar array that need not be evaluated, and return the logits (vocab,) after it.

        They are not evaluated yet. The context's length is the caller's to watch (`Generation` does).
        """
        try:
            logits = self._network(token.reshape(1, 1), self._caches, last=1)[0, -1]
        except BaseException:
            self.reset()  # some layers hold the token and others do not
            raise
        self._unread.append(token)
        return logits

    def begin_step(self) -> None:
        """Queue the first half of what `step` gave last, and no more, while the step before it is still computed.

        So the device has work while the host looks at the token before, and nothing is copied: MLX writes into a cache
        in place only where nothing still reads it, and with the first layers the step before is through. What the last
        of these layers keeps takes all of them to compute.
        """
        half = len(self._caches) // 2
        mx.async_eval([cache.state for cache in self._caches[half - 1 : half]])

    @property
    def takes_back(self) -> bool:
        """Whether what was appended last can be taken back exactly: mlx-lm's own caches are not trusted with it."""
        return all(isinstance(cache, FullCache | RotatingCache) for cache in self._caches)

    def extend(self, tokens: Sequence[int]) -> mx.array:
        """Append tokens at once, and return the logits (tokens, vocab) after each, not evaluated yet.

        They equal what `step` gives for one after the other. The context's length is the caller's to watch.
        """
        known = self._known()
        try:
            logits = self._network(mx.array([tokens]), self._caches)[0]
        except BaseException:
            self.reset()  # some layers hold the tokens and others do not
            raise
        known += tokens
        return logits

    def take_back(self, count: int) -> None:
        """Be as before the last `count` tokens. Only where `takes_back`, and for what was appended last."""
        if not rewind(self._caches, count):
            raise RuntimeError(f"the last {count} tokens cannot be taken back")
        self._cut(len(self) - count)

    def _known(self) -> list[int]:
        """The session's own list of its tokens, with those whose values have just become known."""
        if self._unread:
            try:
                self._tokens += [token_id(token) for token in self._unread]
            except BaseException:
                self.reset()  # what was to be computed was not, and the caches wait for it in vain
                raise
            self._unread.clear()
        return self._tokens

    def reset(self) -> None:
        """Hold nothing."""
        self._caches = self._fresh()
        self._tokens, self._unread, self._marks = [], [], []

    # --- points to return to ---

    def _mark(self, logits: mx.array | None = None) -> None:
        """Remember this point, within the budget. Nothing is kept where rewinding alone can always return."""
        position = len(self)
        if not position or (logits is None and any(mark.position == position for mark in self._marks)):
            return
        layers = tuple(cache.snapshot() for cache in self._caches)
        if not any(layer.content is not None for layer in layers):
            return
        self._marks = [mark for mark in self._marks if mark.position != position]
        self._remember(Mark(position, layers, logits))

    def _remember(self, mark: Mark) -> None:
        self._marks.append(mark)
        while len(self._marks) > self.options.snapshots or (
            sum(mark.nbytes for mark in self._marks) > self.options.snapshot_bytes
        ):
            del self._marks[0]

    # --- keeping ---

    def dump(self) -> tuple[list[dict[str, int]], dict[str, mx.array]]:
        """Numbers, a table a layer, and named arrays, from which `load` makes an equal session.

        Of its marks only the last few of a recurrent state: they are small, and it could not be rewound without them.
        ModelError("request") for an architecture whose caches cannot be saved.
        """
        numbers, arrays = _dumped(self._caches)
        arrays["tokens"] = mx.array(self._known(), mx.int32)
        recurrent = all(isinstance(cache, RecurrentCache) for cache in self._caches)
        if saved := self._marks[-_SAVED_MARKS:] if recurrent else []:
            arrays["marks"] = mx.array([mark.position for mark in saved], mx.int32)
            for place, mark in enumerate(saved):
                arrays |= {f"mark{place}.{name}": array for name, array in self._parts(mark).items()}
        return numbers, arrays

    def held(self) -> int:
        """Bytes that the present tokens take in the caches, without room to grow. ModelError as in `dump`."""
        return sum(array.nbytes for array in _dumped(self._caches)[1].values())

    def _parts(self, mark: Mark) -> dict[str, mx.array]:
        caches = self._fresh()
        for cache, layer in zip(caches, mark.layers, strict=True):
            cache.restore(layer)
        logits = {} if mark.logits is None else {"logits": mark.logits}
        return _dumped(caches)[1] | logits

    def _fresh(self) -> list[LayerCache]:
        return self._network.make_cache(self.options.caches)

    def load(
        self, numbers: Sequence[Mapping[str, int]], arrays: Mapping[str, mx.array], progress: Progress = _ignore
    ) -> None:
        """Become the session that was dumped, its arrays in memory, layer by layer. Only for a fresh one.

        `progress` is called with layers instead of tokens. KeyError or ValueError where the parts are not all there or
        do not fit; the session is of no use then.
        """
        for index, (cache, layer) in enumerate(zip(self._caches, numbers, strict=True)):
            cache.load(layer, _under(f"{index}.", arrays))
            mx.eval(cache.state)  # now: what was packed, and unpacked, would pile up
            progress(index + 1, len(self._caches))
        tokens: Any = arrays["tokens"].tolist()
        if any(cache.offset != len(tokens) for cache in self._caches):
            raise ValueError("the layers do not hold the tokens")
        self._tokens = [int(token) for token in tokens]
        positions: Any = arrays["marks"].tolist() if "marks" in arrays else []
        for place, position in enumerate(positions):
            if not 0 < position <= len(tokens):
                raise ValueError("a point to return to that was never come to")
            self._remember(self._loaded(position, _under(f"mark{place}.", arrays)))

    def _loaded(self, position: int, arrays: Mapping[str, mx.array]) -> Mark:
        caches = self._fresh()
        for index, cache in enumerate(caches):
            cache.load({"offset": position}, _under(f"{index}.", arrays))
        logits = arrays.get("logits")
        mx.eval([cache.state for cache in caches], logits if logits is not None else [])
        return Mark(position, tuple(cache.snapshot() for cache in caches), logits)

    def save(self, path: Path, *, packing: int | None = None, progress: Progress = _ignore) -> None:
        """Write the session to `path`, whole or not at all, for `load_session`. See `model.saving.write`."""
        from model.saving import write

        write(path, self, packing=packing, progress=progress)


def _dumped(caches: Sequence[LayerCache]) -> tuple[list[dict[str, int]], dict[str, mx.array]]:
    """Numbers, a table a layer, and arrays, which are named by the layer first."""
    numbers: list[dict[str, int]] = []
    arrays: dict[str, mx.array] = {}
    for index, cache in enumerate(caches):
        layer, parts = cache.dump()
        numbers.append(layer)
        arrays |= {f"{index}.{name}": array for name, array in parts.items()}
    return numbers, arrays


def _under(prefix: str, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Those whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
