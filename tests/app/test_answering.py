"""What is noted beside an answer."""

import msgspec
import pytest

from app.answering import note_of
from app.engine.protocol import Finished

DONE = Finished(1, "stop", 10, 0, 5, (), 0.1, 0.1, 0.1, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"reason": "cancelled"}, ""),
        ({"reason": "length"}, "The answer ends here because it has reached the length that was allowed."),
        ({"reason": "context"}, "The context is full, so the answer ends here. Begin a new conversation to go on."),
        ({"dropped_messages": 1}, "The oldest message no longer fits into the context, and was not read."),
        ({"dropped_messages": 4}, "The 4 oldest messages no longer fit into the context, and were not read."),
    ],
)
def test_the_note_says_why_an_answer_ended_and_what_it_did_not_see(changes, says):
    assert note_of(msgspec.structs.replace(DONE, **changes)) == says
