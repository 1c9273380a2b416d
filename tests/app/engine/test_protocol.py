"""What crosses the process boundary arrives as it was sent, and nothing else is taken for a message."""

import io
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine import protocol
from app.engine.protocol import (
    HEADER_SIZE,
    Cancel,
    Candidate,
    Candidates,
    CandidatesFound,
    ChatMessage,
    Count,
    Counted,
    Delta,
    Embeddings,
    EmbeddingsFound,
    Failed,
    Finished,
    Generate,
    Keep,
    Keeping,
    Neighbour,
    OneHot,
    Pieces,
    PiecesFound,
    Progress,
    Reading,
    Restated,
    SamplingOptions,
    Stage,
)
from app.engine.writer import Writer

ids = st.integers(0, 2**40)
texts = st.text(max_size=50)
messages = st.builds(
    ChatMessage,
    st.sampled_from(["system", "user", "assistant"]),
    texts,
    st.none() | st.lists(st.integers(0, 2**32), max_size=9).map(tuple),
    st.none() | texts,
)
overflows = st.sampled_from(["oldest", "stop", "rolling"])
readings = st.builds(Reading, st.none() | ids, overflows, st.none() | st.booleans())
samplings = st.builds(SamplingOptions)
conversations = st.lists(messages, max_size=4).map(tuple)
chances = st.floats(0, 1)
candidates = st.builds(Candidate, ids, texts, chances, chances)
tokens = st.lists(ids, max_size=4).map(tuple)
numbers = st.lists(st.floats(-1, 1), max_size=4).map(tuple)
neighbours = st.lists(st.builds(Neighbour, ids, st.binary(max_size=9), st.floats(-1, 1)), max_size=4).map(tuple)
requests = st.one_of(
    st.builds(Generate, ids, texts, conversations, samplings, readings, st.none() | ids),
    st.builds(Cancel, ids, ids),
    st.builds(Count, ids, conversations, st.none() | texts, readings),
    st.builds(Keep, ids, st.builds(Keeping, ids, texts, ids, st.floats(0, 1e6), st.floats(0, 1e6))),
    st.builds(Pieces, ids, st.lists(st.integers(0, 2**32), max_size=9).map(tuple)),
    st.builds(Candidates, ids, texts, conversations, ids, samplings, readings),
    st.builds(Embeddings, ids, tokens, st.lists(tokens, max_size=3).map(tuple), st.none() | ids, ids),
)
replies = st.one_of(
    st.builds(
        EmbeddingsFound,
        *(ids, ids, ids, ids, texts, numbers),
        st.lists(numbers, max_size=3).map(tuple),
        neighbours,
        st.none() | st.builds(OneHot, st.floats(0, 1), ids, ids, ids),
    ),
    st.builds(Delta, ids, st.sampled_from(["answer", "reasoning"]), texts),
    st.builds(Progress, ids, st.sampled_from(get_args(Stage)), ids, ids),
    st.builds(Counted, ids, ids, ids, ids),
    st.builds(Restated, ids, texts, texts),
    st.builds(PiecesFound, ids, st.lists(texts, max_size=4).map(tuple)),
    st.builds(CandidatesFound, ids, ids, st.lists(candidates, max_size=3).map(tuple), ids, chances),
    st.builds(Failed, ids, st.just("memory"), texts),
)


def body(frame: bytes) -> bytes:
    assert protocol.body_length(frame[:HEADER_SIZE]) == len(frame) - HEADER_SIZE
    return frame[HEADER_SIZE:]


@given(requests)
def test_requests_arrive_as_they_were_sent(request):
    assert protocol.decode_request(body(protocol.frame(request))) == request


@given(replies)
def test_replies_arrive_as_they_were_sent(reply):
    assert protocol.decode_reply(body(protocol.frame(reply))) == reply


@given(st.binary(max_size=60))
def test_what_is_no_message_is_refused(junk):
    try:
        reply = protocol.decode_reply(junk)
    except msgspec.MsgspecError:
        return
    assert isinstance(reply, msgspec.Struct)


def test_a_frame_of_absurd_length_is_not_waited_for():
    with pytest.raises(ValueError, match="at most"):
        protocol.body_length(b"\xff\xff\xff\xff")


def test_speed_counts_the_intervals_between_tokens():
    def finished(tokens: int, seconds: float) -> Finished:
        return Finished(1, "stop", 3, 0, tokens, (), 0.1, 0.2, seconds, 0)

    assert finished(11, 2.0).tokens_per_second == 5.0
    assert finished(1, 0.0).tokens_per_second == finished(0, 0.0).tokens_per_second == 0.0


@given(st.lists(replies, max_size=20))
def test_the_writer_gathers_text_and_keeps_the_order_of_everything_else(sent):
    stream = io.BytesIO()
    writer = Writer(stream)
    for reply in sent:
        writer.send(reply)
    writer.close()
    stream.seek(0)
    received = []
    while header := stream.read(HEADER_SIZE):
        received.append(protocol.decode_reply(stream.read(protocol.body_length(header))))

    def told(stream_of_replies):
        """What a reader is told: texts joined where they follow each other, and of progress only the latest."""
        result = []
        for reply in stream_of_replies:
            last = result[-1] if result else None
            same = type(last) is type(reply) and last.id == reply.id
            if same and isinstance(reply, Delta) and last.part == reply.part:
                result[-1] = Delta(reply.id, reply.part, last.text + reply.text)
            elif same and isinstance(reply, Progress) and last.stage == reply.stage:
                result[-1] = reply
            else:
                result.append(reply)
        return result

    assert told(received) == told(sent)
