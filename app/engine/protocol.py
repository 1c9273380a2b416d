"""The words that cross the process boundary: typed messages in length-prefixed frames.

Requests go to the worker, replies come back, each carrying the id of the request it belongs to. Text and numbers cross,
never arrays. A frame is four bytes of length, big-endian, then one msgpack value; the union is closed, so a frame that
does not decode to one of these types ends the connection.
"""

import struct
from typing import Literal

import msgspec

from model.choices import Choices

MAX_FRAME = 64 * 1024 * 1024
"""Bytes. A longer frame is a fault of the sender, never an allocation of the receiver."""

_LENGTH = struct.Struct(">I")

Part = Literal["answer", "reasoning"]
Role = Literal["system", "user", "assistant"]
Stage = Literal["wait", "convert", "load", "restore", "prefill", "keep"]
Reason = Literal["stop", "length", "context", "cancelled"]
"""Why an answer ended: the model was done; max_tokens; the context was full; the person stopped it."""
Overflow = Literal["oldest", "stop", "rolling"]
"""When the context is full: the oldest turns go; the conversation ends; or it rolls on, forgetting token by token."""
FailureKind = Literal["checkpoint", "unsupported", "template", "context", "request", "too big", "memory", "engine"]
"""Why there is no answer. "too big" was judged before anything was read; "memory" is what ran out on the way."""

SCRATCH = "title"
"""The session of what is read from scratch, once: no conversation gives way to it, and it goes with its answer."""


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation as the template sees it."""

    role: Role
    content: str
    token_ids: tuple[int, ...] | None = None
    """The exact ids an answer was generated with, spliced in where the template leaves its text unchanged."""
    model: str | None = None
    """The fingerprint of the checkpoint that `token_ids` belong to; another model's ids are ignored."""


class SamplingOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person chose; what is None comes from the checkpoint's own generation defaults."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalty_decay: float | None = None
    seed: int | None = None


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a conversation becomes a prompt."""

    context: int | None = None
    """Tokens that the model sees; None, and at most, what the checkpoint holds."""
    overflow: Overflow = "oldest"
    thinking: bool | None = None
    """Whether the model is to reason before it answers, where its template knows the choice; None is as it likes."""


# --- requests -------------------------------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, tag=True):
    """Open the checkpoint. The first request of every worker; answered by Progress..., then Loaded."""

    id: int
    path: str
    conversions: str
    """The folder for converted GGUF files."""
    choices: Choices | None = None
    """How to compute, where that was measured on this machine; None is as the rule has it."""
    draft: str = ""
    """A smaller model that guesses ahead for it; none by default. Where it cannot, Loaded says why in its warning."""


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Answer the conversation. Answered by Progress(prefill)..., Delta..., then Finished.

    Where the last of `messages` is an assistant's, it is continued: its exact ids where they are this model's, else its
    text, stand behind the prompt as if the model had just written them. Restated then comes before any Delta.
    """

    id: int
    session: str
    """The conversation's key: the worker reuses its cache for whatever prefix is unchanged."""
    messages: tuple[ChatMessage, ...]
    sampling: SamplingOptions = SamplingOptions()
    reading: Reading = Reading()
    max_tokens: int | None = None
    """New ones at most; None is as many as the context holds."""
    lookahead: bool = True
    """Whether what was said before is guessed to come again: the same answer, sooner where it repeats something."""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop the request `target` at its next token or prefill chunk. Generate still ends with Finished("cancelled"),
    Candidates with Failed, which nobody waits for who gave up."""

    id: int
    target: int


class Count(msgspec.Struct, frozen=True, tag=True):
    """How many tokens these messages are as a prompt. Answered by Counted, also while an answer is being written.

    A message many times longer than the context is estimated by its beginning. With a session: as Generate would read
    them there, the oldest messages dropped where it would drop them, which is not remembered; Failed("context") where
    it would refuse them.
    """

    id: int
    messages: tuple[ChatMessage, ...]
    session: str | None = None
    reading: Reading = Reading()
    same: int = 0
    """With a session: how many messages of the Count before, which had one too, stand before these again."""


class Pieces(msgspec.Struct, frozen=True, tag=True):
    """The text of each of these tokens. Answered by PiecesFound."""

    id: int
    token_ids: tuple[int, ...]


class Candidates(msgspec.Struct, frozen=True, tag=True):
    """What could have stood at `position` of an answer that this model wrote: the last of `messages`, with its ids.

    Recomputed from the tokens before it, in the session's cache: the next token costs one step. Answered by
    Progress(prefill)..., CandidatesFound.
    """

    id: int
    session: str
    messages: tuple[ChatMessage, ...]
    position: int
    """Counted from 0, in the answer's `token_ids`."""
    sampling: SamplingOptions = SamplingOptions()
    """These and `reading`: what the answer was written with."""
    reading: Reading = Reading()


class Embeddings(msgspec.Struct, frozen=True, tag=True):
    """What stands in the embedding matrix's rows of these tokens. Answered by EmbeddingsFound."""

    id: int
    token_ids: tuple[int, ...] = ()
    words: tuple[tuple[int, ...], ...] = ()
    """To be compared, each by its tokens: one of several is the mean of their rows."""
    near: int | None = None
    """A token whose neighbours are looked for, and which is looked up as a one-hot vector too."""
    most: int = 10
    """Neighbours, at most."""


class Facts(msgspec.Struct, frozen=True, tag=True):
    """What MLX computes on here. Answered by EngineFacts; needs no model."""

    id: int


class Keeping(msgspec.Struct, frozen=True):
    """How much a worker keeps of what it has read of conversations. Bytes and seconds."""

    memory: int = 1 << 30
    """What the sessions of conversations may take together, beside the one that was used last."""
    folder: str = ""
    """Where they are kept on disk; it is never created: where it is missing nothing is kept."""
    disk: int = 0
    """What they may take there in all, whatever model they are of; 0 keeps none."""
    worth: float = 5.0
    """Only what it would take longer to read again is written."""
    rest: float = 2.0
    """How long nothing may have been asked before anything is written."""


class Keep(msgspec.Struct, frozen=True, tag=True):
    """Keep so much from now on. Not answered."""

    id: int
    keeping: Keeping


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drop the cache of `session`, and what is kept of it on disk. Not answered."""

    id: int
    session: str


Request = Load | Generate | Cancel | Count | Pieces | Candidates | Embeddings | Facts | Keep | Forget

# --- replies --------------------------------------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag=True):
    """`done` of `total`: tensors for "convert", bytes for "load", layers for "restore", tokens for "prefill"; "wait" is
    for other models. "keep" is said, of request 0, by a worker that writes a last session before it ends."""

    id: int
    stage: Stage
    done: int
    total: int


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The checkpoint is ready; what there is to know about it."""

    id: int
    architecture: str
    fingerprint: str
    """Changes whenever weights, configuration or tokenizer change."""
    parameters: int
    bits: float | None
    """Bits a weight as stored; None where unquantised weights are used as they are."""
    context: int
    """Tokens that it can hold, `model.config.UNBOUNDED` where there is no limit: no request is given more."""
    device: str
    memory: int
    """Bytes MLX holds after loading."""
    seconds: float
    sampling: SamplingOptions
    """The checkpoint's own defaults."""
    trained: int = 0
    """Tokens of the longest texts that it was trained on; 0 where that is not known."""
    thinking: bool = False
    """Whether a request can choose that the model reasons before it answers, or does not."""
    warning: str = ""
    """What a person is to know: how narrowly it fits into this machine's memory, and why nothing drafts for it."""


class Restated(msgspec.Struct, frozen=True, tag=True):
    """All text so far of an answer that is being continued, as its tokens read; every Delta goes behind it.

    Less than was shown where that ended in half a character: the other half may be coming.
    """

    id: int
    answer: str
    reasoning: str


class Delta(msgspec.Struct, frozen=True, tag=True):
    """Text that has just been written."""

    id: int
    part: Part
    text: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The end of an answer, and what it took."""

    id: int
    reason: Reason
    prompt_tokens: int
    """Tokens before the new ones: what a continued answer had already is among them."""
    reused_tokens: int
    """How many of them were in the cache already, or came from the disk."""
    completion_tokens: int
    """New ones."""
    token_ids: tuple[int, ...]
    """The exact ids of the whole answer, without the token that ended it."""
    prefill_seconds: float
    first_token_seconds: float
    """From the request's arrival to its first token (TTFT); 0 where there was none."""
    decode_seconds: float
    """From the first token to the last."""
    memory: int
    """Bytes, MLX's peak since loading."""
    dropped_messages: int = 0
    """How many of the oldest messages no longer fitted, and were not read."""
    drafted_tokens: int = 0
    """How many tokens were guessed and read beside others."""
    kept_tokens: int = 0
    """How many of these stand in the answer."""

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed over the intervals between tokens; 0 for fewer than two tokens."""
        intervals = self.completion_tokens - 1
        return intervals / self.decode_seconds if intervals > 0 and self.decode_seconds > 0 else 0.0


class Counted(msgspec.Struct, frozen=True, tag=True):
    """What the messages come to as a prompt."""

    id: int
    tokens: int
    dropped_messages: int = 0
    """How many of the oldest would be left out; 0 where no session was named."""
    context: int = 0
    """Tokens that may stand there: those asked for, at most those it holds; all of these where it rolls."""


class PiecesFound(msgspec.Struct, frozen=True, tag=True):
    """The text of each token. Joined they are the decoded text; a character over several stands with the last."""

    id: int
    texts: tuple[str, ...]


class Candidate(msgspec.Struct, frozen=True):
    """A token that could have come."""

    token: int
    text: str
    """What it would have added; a control token's name."""
    probability: float
    """By the model alone."""
    share: float
    """Its chance to be drawn by the sampling settings; 0 where they cut it off."""


class CandidatesFound(msgspec.Struct, frozen=True, tag=True):
    """What could have stood in a place, the most probable first.

    Of those that the sampling settings kept at most 40, of those they cut off at most 10; the chosen one is there.
    """

    id: int
    chosen: int
    """The token that stands there."""
    candidates: tuple[Candidate, ...]
    kept: int
    """How many the settings kept in all."""
    kept_mass: float
    """The share of all chances, at the temperature asked for, that lay with what was kept."""


class Neighbour(msgspec.Struct, frozen=True):
    """A token whose row points nearly the same way."""

    token: int
    spelling: bytes
    cosine: float


class OneHot(msgspec.Struct, frozen=True):
    """A one-hot vector times the embedding matrix, beside looking the row up. Bytes; the product is float32."""

    difference: float
    """The largest between a number of the product and the same number of the row."""
    vector: int
    matrix: int
    row: int


class EmbeddingsFound(msgspec.Struct, frozen=True, tag=True):
    """The embedding matrix, and what was asked about its rows."""

    id: int
    rows: int
    width: int
    memory: int
    """Bytes of the matrix as it is held."""
    stored: str
    """How that is, in words: "float32", "4 bit in groups of 64"."""
    norms: tuple[float, ...]
    """One a token."""
    cosines: tuple[tuple[float, ...], ...]
    """Of every word with every word."""
    near: tuple[Neighbour, ...]
    """The nearest first."""
    one_hot: OneHot | None


class EngineFacts(msgspec.Struct, frozen=True, tag=True):
    """What MLX computes on, and within which limits. Bytes; 0 where the back end has no such limit."""

    id: int
    mlx: str
    device: str
    blas: str
    working_set: int
    memory_limit: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request could not be served; the worker lives on, unless it could not load."""

    id: int
    kind: FailureKind
    sentence: str


Reply = (
    Progress
    | Loaded
    | Restated
    | Delta
    | Finished
    | Counted
    | PiecesFound
    | CandidatesFound
    | EmbeddingsFound
    | EngineFacts
    | Failed
)
Event = Progress | Restated | Delta | Finished
"""What a turn consists of."""

_encoder = msgspec.msgpack.Encoder()
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Request | Reply) -> bytes:
    """`message` as the bytes of one frame."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message of {len(body)} bytes is longer than the {MAX_FRAME} a frame may hold")
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """The length that a frame's first four bytes announce, in bytes. ValueError where no frame can be that long."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes was announced; at most {MAX_FRAME} are allowed")
    return int(length)


HEADER_SIZE = _LENGTH.size
