"""The engine process: the only place that runs MLX. It holds one model and ends with its standard input.

Three threads. The main one reads requests, renders templates and counts; one MLX thread loads, evaluates and frees,
because MLX's streams and pending arrays belong to the thread that made them; a writer sends replies and gathers text,
so that a fast model does not wake the window for every token. The process opens no port and refuses every connection.
"""

import contextlib
import gc
import importlib
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from weakref import WeakKeyDictionary

import msgspec

from app.closed import refuse_connections
from app.engine import protocol
from app.engine.blas import load_fast_blas
from app.engine.counting import Typed
from app.engine.limits import device_name, go_first, raise_thread_priority
from app.engine.memory import ADVICE, tells_of_want
from app.engine.protocol import (
    HEADER_SIZE,
    Cancel,
    Candidate,
    Candidates,
    CandidatesFound,
    Count,
    Counted,
    Delta,
    Embeddings,
    EmbeddingsFound,
    EngineFacts,
    Facts,
    Failed,
    FailureKind,
    Finished,
    Forget,
    Generate,
    Keep,
    Load,
    Loaded,
    Neighbour,
    OneHot,
    Pieces,
    PiecesFound,
    Progress,
    Reading,
    Reply,
    Request,
    Restated,
    SamplingOptions,
)
from app.engine.sessions import Sessions
from app.engine.warming import warm_up
from app.engine.writer import Writer
from app.errors import sendable
from model.errors import ModelError

if TYPE_CHECKING:
    from model import LanguageModel, Session
    from model.generation import Piece
    from model.language_model import Opening
    from model.overflow import Fitted
    from model.session import SessionOptions
    from model.tokenizer import Turn

log = logging.getLogger("quietly.engine")

_PARTS: tuple[protocol.Part, ...] = ("answer", "reasoning")
_FAREWELL = 3.0
"""Seconds, at most, between the end of the input and the process's: for what is worth keeping on disk."""


def main() -> None:
    """Serve the requests on standard input until it closes."""
    os.umask(0o077)  # a converted model, and the folders above it, are the person's alone
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, and cannot break a frame
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    refuse_connections()
    go_first()
    blas = load_fast_blas() or "the one MLX brings"
    log.info("BLAS: %s", blas)
    writer = Writer(outgoing)
    worker = Worker(writer.send, blas)
    try:
        worker.serve(sys.stdin.buffer)
        worker.end()
    finally:
        writer.close()
        os._exit(0)  # the window is gone or has had enough: nothing else here is worth waiting for


class Dropped(msgspec.Struct, frozen=True):
    """How many of a conversation's oldest messages do not fit, once it is so many messages long."""

    count: int
    messages: int
    """A shorter one is an earlier point of it, where more of them may fit."""
    context: int
    """Tokens; with another context others fit."""


class Worker:
    """One model, the sessions over it, and the jobs of its MLX thread."""

    def __init__(self, send: Callable[[Reply], None], blas: str) -> None:
        self._send = send
        self._blas = blas
        self._model: LanguageModel | None = None
        self._drafter: LanguageModel | None = None
        """A smaller one that guesses ahead for it."""
        self._drafts: WeakKeyDictionary[Session, Session] = WeakKeyDictionary()
        """By a conversation's session the drafter's."""
        self._sessions: Sessions | None = None
        self._dropped: dict[str, Dropped] = {}
        """What of a conversation no longer fits: it stays out, so that prefixes stay the same."""
        self._counted: tuple[protocol.ChatMessage, ...] = ()
        """What was counted last in a session: the next Count says how much of it stands again."""
        self._typed = Typed()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._cancelled: dict[int, threading.Event] = {}
        threading.Thread(target=self._run_jobs, name="mlx", daemon=True).start()

    def serve(self, stream: BinaryIO) -> None:
        """Read requests until the stream ends."""
        while header := stream.read(HEADER_SIZE):
            if len(header) < HEADER_SIZE:
                return
            request = protocol.decode_request(stream.read(protocol.body_length(header)))
            try:
                self._take(request)
            except Exception as error:
                self._report(request, error)

    def end(self) -> None:
        """Stop what goes on, and keep what is worth it; takes `_FAREWELL` seconds at most."""
        if self._sessions is None or not self._sessions.unsettled:
            return
        for cancelled in self._cancelled.copy().values():
            cancelled.set()
        last, settled = time.monotonic() + _FAREWELL, threading.Event()

        def settle() -> None:
            self._settle(lambda: time.monotonic() > last)
            settled.set()

        self._jobs.put(settle)
        settled.wait(_FAREWELL)

    # --- the main thread ---

    def _take(self, request: Request) -> None:
        match request:
            case Cancel():
                if event := self._cancelled.get(request.target):
                    event.set()
            case Count():
                self._send(self._count(request))
            case Pieces():
                texts = self._loaded().tokenizer.pieces(request.token_ids)
                self._send(PiecesFound(request.id, tuple(texts)))
            case Load():
                self._enqueue(request, lambda: self._load(request))
            case Keep():
                self._keep(request.keeping)
            case Forget():
                self._enqueue(request, lambda: self._forget(request.session))
            case Embeddings():
                self._enqueue(request, lambda: self._look_up(request))
            case Facts():
                self._enqueue(request, lambda: self._describe(request.id))
            case Generate():
                # Rendered here, so that a person's next look at a long queue shows a prompt that was understood.
                fitted = self._prompt(request)
                self._accept(request, fitted, lambda: self._generate(request, fitted))
            case Candidates():
                turns, chosen = self._until(request)
                before = self._fitted(turns, request.session, request.reading)
                self._accept(request, before, lambda: self._look_around(request, before, chosen))

    def _keep(self, keeping: protocol.Keeping) -> None:
        """From now on; no job, for which the warming up would give way."""
        if self._sessions:
            self._sessions.keeping, self._sessions.unsettled = keeping, True

    def _accept(self, request: Request, fitted: "Fitted[Opening]", job: Callable[[], None]) -> None:
        self._cancelled[request.id] = threading.Event()
        self._send(Progress(request.id, "prefill", 0, len(fitted.prompt)))
        self._enqueue(request, job)

    def _prompt(self, request: Generate) -> "Fitted[Opening]":
        """The request's prompt; which messages it leaves out is remembered."""
        turns = self._turns(request.messages)
        fitted = self._fitted(turns, request.session, request.reading)
        if request.reading.overflow == "oldest":
            before, context = self._dropped.get(request.session), self._options(request.reading).context
            if not before or (before.count, before.context) != (fitted.dropped, context):
                self._dropped[request.session] = Dropped(fitted.dropped, len(turns), context)
        return fitted

    def _fitted(self, turns: "Sequence[Turn]", session: str, reading: Reading) -> "Fitted[Opening]":
        """The prompt as the policy has it: whole, or without the oldest turns where they do not fit, or did not the
        last time."""
        from model.overflow import fit_prompt, whole_prompt

        context, render = self._options(reading).context, self._render(reading)
        if reading.overflow != "oldest":
            return whole_prompt(turns, context, render, self._measure)
        return fit_prompt(turns, context, render, self._measure, self._left_out(session, reading, len(turns)))

    def _left_out(self, session: str, reading: Reading, messages: int) -> int:
        """How many of the oldest messages did not fit the last time, and stay out as long as they could not fit now."""
        before = self._dropped.get(session)
        if before is None or reading.overflow != "oldest" or messages < before.messages:
            return 0
        return before.count if before.context == self._options(reading).context else 0

    def _options(self, reading: Reading) -> "SessionOptions":
        """How the session of a request keeps what it reads; its context is what the prompt has to fit into."""
        return self._loaded().options(reading.context, rolling=reading.overflow == "rolling")

    def _render(self, reading: Reading) -> "Callable[[Sequence[Turn]], Opening]":
        return partial(self._loaded().opening, thinking=reading.thinking)

    def _measure(self, text: str) -> int:
        return len(self._loaded().tokenizer.encode_plain(text))

    def _count(self, request: Count) -> Counted:
        from model.config import UNBOUNDED
        from model.overflow import LOOKED_AT, tokens_in

        reading, messages = request.reading, request.messages
        if request.session is not None:  # first: the next one builds on it, though this one be refused
            messages = self._counted = (*self._counted[: request.same], *messages)
        context = self._options(reading).context
        is_endless = context >= UNBOUNDED and bool(messages) and len(messages[-1].content) > LOOKED_AT
        if request.session is None or is_endless:  # nothing is left out where there is no end of the context
            tokens = tokens_in(self._turns(messages), context, self._render(reading), self._measure)
            return Counted(request.id, tokens, context=context)
        left_out = self._left_out(request.session, reading, len(messages))
        rest = request.session, reading, left_out, messages[:-1]
        length = self._typed.length(rest, messages[-1].content, context) if messages else None
        if length is not None:
            return Counted(request.id, length, left_out, context)
        turns = self._turns(messages)
        fitted = self._fitted(turns, request.session, reading)
        length = len(fitted.prompt)
        if fitted.dropped == left_out:  # else how much is left out hangs on what is typed
            self._typed.note(rest, self._loaded().tokenizer, turns, reading.thinking, left_out, length)
        return Counted(request.id, length, fitted.dropped, context)

    def _turns(self, messages: Sequence[protocol.ChatMessage]) -> "list[Turn]":
        from model.tokenizer import Turn

        own = self._loaded().traits.fingerprint
        return [
            Turn(message.role, message.content, message.token_ids or None if message.model == own else None)
            for message in messages
        ]

    def _until(self, request: Candidates) -> "tuple[list[Turn], int]":
        """The conversation up to the place that is asked about, and the token that stands there."""
        turns = self._turns(request.messages)
        ids = turns[-1].token_ids if turns and turns[-1].role == "assistant" else None
        if ids is None:
            raise ModelError(
                "Which tokens this answer was written with is not known to this model; choose the model that wrote it, "
                "or let it be written again.",
                "request",
            )
        if not 0 <= request.position < len(ids):
            raise ModelError(
                f"The answer has no token {request.position}: it has {len(ids)}, counted from 0.", "request"
            )
        turns[-1] = replace(turns[-1], token_ids=ids[: request.position])
        return turns, ids[request.position]

    def _loaded(self) -> "LanguageModel":
        if self._model is None:
            raise ModelError("No model is loaded yet.", "request")
        return self._model

    def _enqueue(self, request: Request, job: Callable[[], None]) -> None:
        def guarded() -> None:
            ran_out = False
            try:
                job()
            except Exception as error:
                ran_out = self._report(request, error) == "memory"
            if ran_out:  # what failed holds its arrays for as long as the error lives
                self._give_back()

        self._jobs.put(guarded)

    def _report(self, request: Request, error: Exception) -> FailureKind:
        """Tell why there is no answer; the kind of failure."""
        kind, sentence = _explained(error)
        if kind == "engine":
            log.error("request %s failed with %s\n%s", request.id, type(error).__name__, _where(error))
        self._cancelled.pop(request.id, None)
        self._send(Failed(request.id, kind, sendable(sentence)))
        return kind

    # --- the MLX thread ---

    def _run_jobs(self) -> None:
        raise_thread_priority()
        with contextlib.suppress(Exception):  # what cannot be imported is said to whoever wants a model
            importlib.import_module("model.checkpoint")  # and MLX with it: which model it will be is not known yet
        while True:
            sessions = self._sessions
            try:
                job = self._jobs.get(timeout=sessions.keeping.rest if sessions and sessions.unsettled else None)
            except queue.Empty:
                job = self._settle_at_rest
            job()

    def _settle_at_rest(self) -> None:
        self._settle(lambda: not self._jobs.empty())

    def _settle(self, hurried: Callable[[], bool]) -> None:
        """Put on disk what is worth it, unless somebody is hurried. Whoever waits for the end hears that it goes on."""
        assert self._sessions
        try:
            self._sessions.settle(hurried, lambda done, total: self._send(Progress(0, "keep", done, total)))
        except Exception as error:
            log.error("sessions were not kept: %s\n%s", type(error).__name__, _where(error))
            self._give_back()

    def _load(self, request: Load) -> None:
        import mlx.core as mx

        import model

        started = time.perf_counter()
        loaded = model.load(
            Path(request.path),
            conversions=Path(request.conversions),
            choices=request.choices,
            progress=lambda stage, done, total: self._send(Progress(request.id, stage, done, total)),
        )
        warning = self._open_drafter(request, loaded)
        traits, thinking = loaded.traits, loaded.can_choose_thinking()
        self._model, self._sessions = loaded, Sessions(loaded)
        self._send(
            Loaded(
                id=request.id,
                architecture=traits.architecture,
                fingerprint=traits.fingerprint,
                parameters=traits.parameters,
                bits=traits.bits,
                context=traits.context,
                trained=traits.trained,
                device=device_name(mx.device_info(), str(mx.default_device())),
                memory=mx.get_active_memory(),
                seconds=time.perf_counter() - started,
                sampling=SamplingOptions(
                    temperature=traits.defaults.temperature,
                    top_p=traits.defaults.top_p,
                    top_k=traits.defaults.top_k,
                    min_p=traits.defaults.min_p,
                    repetition_penalty=traits.defaults.repetition_penalty,
                    presence_penalty=traits.defaults.presence_penalty,
                    frequency_penalty=traits.defaults.frequency_penalty,
                    penalty_decay=traits.defaults.penalty_decay,
                ),
                thinking=thinking,
                warning=warning,
            )
        )
        warm_up(loaded, hurried=lambda: not self._jobs.empty())

    def _open_drafter(self, request: Load, loaded: "LanguageModel") -> str:
        """Open the smaller model that is to guess ahead, where one was named; why it does not, where it cannot."""
        import model

        if not request.draft:
            return ""
        try:
            drafter = model.load(Path(request.draft), conversions=Path(request.conversions))
            loaded.check_drafter(drafter)
        except ModelError as error:
            return str(error)
        self._drafter = drafter
        return ""

    def _generate(self, request: Generate, fitted: "Fitted[Opening]") -> None:
        import mlx.core as mx

        language_model, opening = self._loaded(), fitted.prompt
        cancelled = self._cancelled[request.id]
        begun = time.perf_counter()
        session = self._session(request, opening.tokens)
        restored = time.perf_counter() - begun
        generation = language_model.generation(
            session,
            opening.prompt,
            language_model.sampling(msgspec.structs.asdict(request.sampling)),
            begun=opening.begun,
            max_tokens=request.max_tokens,
            thinking=opening.thinking,
            progress=lambda done, total: self._send(Progress(request.id, "prefill", done, total)),
            cancelled=cancelled.is_set,
            lookahead=request.lookahead,
            drafter=self._drafting(request, session),
        )
        if request.messages and request.messages[-1].role == "assistant":
            self._send(_restated(request.id, generation.restated))
        for token in generation:
            self._send_text(request.id, token.pieces)
        self._send_text(request.id, generation.rest())
        self._cancelled.pop(request.id, None)
        assert self._sessions
        if generation.prefill_seconds:
            self._sessions.pace.take(generation.prompt_tokens - generation.reused_tokens, generation.prefill_seconds)
        self._send(
            Finished(
                id=request.id,
                reason=generation.reason,
                prompt_tokens=generation.prompt_tokens,
                reused_tokens=generation.reused_tokens,
                completion_tokens=len(generation.token_ids),
                token_ids=(*generation.begun, *generation.token_ids),
                prefill_seconds=generation.prefill_seconds,
                first_token_seconds=generation.first_token_seconds + restored if generation.first_token_seconds else 0,
                decode_seconds=generation.decode_seconds,
                memory=mx.get_peak_memory(),
                dropped_messages=fitted.dropped,
                drafted_tokens=generation.drafted_tokens,
                kept_tokens=generation.kept_tokens,
            )
        )

    def _drafting(self, request: Generate, session: "Session") -> "Session | None":
        """The session of the smaller model that goes with a conversation's, and goes when that goes."""
        if self._drafter is None or request.session == protocol.SCRATCH:
            return None
        if session not in self._drafts:
            self._drafts[session] = self._drafter.session()
        return self._drafts[session]

    def _look_around(self, request: Candidates, fitted: "Fitted[Opening]", chosen: int) -> None:
        from model.session import Cancelled

        language_model = self._loaded()
        try:
            found = language_model.alternatives(
                self._session(request, fitted.prompt.tokens),
                fitted.prompt.tokens,
                chosen,
                language_model.sampling(msgspec.structs.asdict(request.sampling)),
                answered=len(fitted.prompt.begun),
                progress=lambda done, total: self._send(Progress(request.id, "prefill", done, total)),
                cancelled=self._cancelled[request.id].is_set,
            )
        except Cancelled:
            raise ModelError("The look at other words was given up; ask for it again.", "request") from None
        text_after = language_model.tokenizer.text_after
        self._cancelled.pop(request.id, None)
        self._send(
            CandidatesFound(
                id=request.id,
                chosen=chosen,
                candidates=tuple(
                    Candidate(one.token, text_after(fitted.prompt.begun, one.token), one.probability, one.share)
                    for one in found.tokens
                ),
                kept=found.kept,
                kept_mass=found.kept_mass,
            )
        )

    def _look_up(self, request: Embeddings) -> None:
        language_model, near = self._loaded(), request.near
        for ids in (request.token_ids, *request.words, () if near is None else (near,)):
            language_model.check(ids)
        if not all(request.words):
            raise ModelError("A word without a token has no direction to compare; leave it out.", "request")
        matrix, spelling = language_model.embeddings, language_model.tokenizer.bytes_of
        nearest, one_hot = [], None
        if near is not None:
            nearest, product = matrix.nearest(near, request.most), matrix.one_hot(near)
            one_hot = OneHot(product.difference, product.vector, product.matrix, product.row)
        self._send(
            EmbeddingsFound(
                id=request.id,
                rows=matrix.rows,
                width=matrix.width,
                memory=matrix.nbytes,
                stored=matrix.stored,
                norms=tuple(matrix.norms(request.token_ids)),
                cosines=tuple(map(tuple, matrix.cosines(request.words))) if request.words else (),
                near=tuple(Neighbour(token, spelling(token), cosine) for token, cosine in nearest),
                one_hot=one_hot,
            )
        )

    def _send_text(self, id: int, pieces: Sequence["Piece"]) -> None:
        for piece in pieces:
            self._send(Delta(id, piece.part, piece.text))

    def _session(self, request: Generate | Candidates, prompt: Sequence[int]) -> "Session":
        """The session of the request's conversation."""
        assert self._sessions
        return self._sessions.session(
            request.session,
            self._options(request.reading),
            prompt,
            progress=lambda done, total: self._send(Progress(request.id, "restore", done, total)),
            cancelled=self._cancelled[request.id].is_set,
        )

    def _describe(self, id: int) -> None:
        import importlib.metadata

        import mlx.core as mx

        info = mx.device_info()
        self._send(
            EngineFacts(
                id=id,
                mlx=importlib.metadata.version("mlx"),
                device=device_name(info, str(mx.default_device())),
                blas=self._blas,
                working_set=int(info.get("max_recommended_working_set_size", 0)),
                memory_limit=mx.get_memory_limit(),
            )
        )

    def _give_back(self) -> None:
        """Let go of all that is not the model itself: conversations are read again when they go on."""
        import mlx.core as mx

        if self._sessions:
            self._sessions.clear()
        self._drafts.clear()
        gc.collect()
        mx.clear_cache()

    def _forget(self, key: str) -> None:
        if self._sessions:
            self._sessions.forget(key)
        self._dropped.pop(key, None)


def _restated(id: int, pieces: Sequence["Piece"]) -> Restated:
    answer, reasoning = ("".join(piece.text for piece in pieces if piece.part == part) for part in _PARTS)
    return Restated(id, answer, reasoning)


def _where(error: Exception) -> str:
    """The lines of code that an error came through; not its message, which may quote the words of a conversation."""
    return "".join(traceback.format_tb(error.__traceback__))


def _explained(error: Exception) -> tuple[FailureKind, str]:
    """The kind of failure and the sentence for the person."""
    if isinstance(error, ModelError):
        return error.kind, str(error)
    if isinstance(error, MemoryError) or tells_of_want(str(error)):
        return "memory", f"This machine's memory is not enough for this: {ADVICE}."
    return (
        "engine",
        f"The engine failed on this request ({type(error).__name__}); its log says more, try again.",
    )


if __name__ == "__main__":
    main()
