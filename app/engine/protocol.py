"""The words that cross the process boundary: typed messages in length-prefixed frames.

Requests go to the worker, replies come back, each carrying the id of the request it belongs to. Text and numbers cross,
never arrays. A frame is four bytes of length, big-endian, then one msgpack value; the union is closed, so a frame that
does not decode to one of these types ends the connection.
"""

import struct
from typing import Literal

import msgspec

MAX_FRAME = 64 * 1024 * 1024
"""Bytes. A longer frame is a fault of the sender, never an allocation of the receiver."""

_LENGTH = struct.Struct(">I")

Part = Literal["answer", "reasoning"]
Role = Literal["system", "user", "assistant"]
Stage = Literal["convert", "load", "prefill"]
Reason = Literal["stop", "length", "context", "cancelled"]
"""Why an answer ended: the model was done; max_tokens; the context was full; the person stopped it."""
Overflow = Literal["oldest", "stop", "rolling"]
"""When the context is full: the oldest turns go; the conversation ends; or it rolls on, forgetting token by token."""
FailureKind = Literal["checkpoint", "unsupported", "template", "context", "request", "memory", "engine"]


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
    seed: int | None = None


# --- requests -------------------------------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, tag=True):
    """Open the checkpoint. The first request of every worker; answered by Progress..., then Loaded."""

    id: int
    path: str
    conversions: str
    """The folder for converted GGUF files."""
    context: int | None = None
    """Tokens; None is what the checkpoint was trained for."""


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Answer the conversation. Answered by Progress(prefill)..., Delta..., then Finished."""

    id: int
    session: str
    """The conversation's key: the worker reuses its cache for whatever prefix is unchanged."""
    messages: tuple[ChatMessage, ...]
    sampling: SamplingOptions = SamplingOptions()
    max_tokens: int | None = None
    overflow: Overflow = "oldest"


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop the request `target` at its next token or prefill chunk. It still ends with Finished("cancelled")."""

    id: int
    target: int


class Count(msgspec.Struct, frozen=True, tag=True):
    """How many tokens these messages are as a prompt. Answered by Counted, also while an answer is being written."""

    id: int
    messages: tuple[ChatMessage, ...]


class Facts(msgspec.Struct, frozen=True, tag=True):
    """What MLX computes on here. Answered by EngineFacts; needs no model."""

    id: int


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drop the cache of `session`. Not answered."""

    id: int
    session: str


Request = Load | Generate | Cancel | Count | Facts | Forget

# --- replies --------------------------------------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag=True):
    """`done` of `total`: tensors for "convert", bytes for "load", tokens for "prefill"."""

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
    """Tokens, as honoured: the request's, at most what the checkpoint was trained for."""
    device: str
    memory: int
    """Bytes MLX holds after loading."""
    seconds: float
    sampling: SamplingOptions
    """The checkpoint's own defaults."""


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
    reused_tokens: int
    """How many of them were in the cache already."""
    completion_tokens: int
    token_ids: tuple[int, ...]
    """The answer's exact ids, without the token that ended it."""
    prefill_seconds: float
    first_token_seconds: float
    """From the request's arrival to its first token (TTFT); 0 where there was none."""
    decode_seconds: float
    """From the first token to the last."""
    memory: int
    """Bytes, MLX's peak since loading."""
    dropped_messages: int = 0
    """How many of the oldest messages no longer fitted, and were not read."""

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed over the intervals between tokens; 0 for fewer than two tokens."""
        intervals = self.completion_tokens - 1
        return intervals / self.decode_seconds if intervals > 0 and self.decode_seconds > 0 else 0.0


class Counted(msgspec.Struct, frozen=True, tag=True):
    id: int
    tokens: int


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


Reply = Progress | Loaded | Delta | Finished | Counted | EngineFacts | Failed
Event = Progress | Delta | Finished
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
