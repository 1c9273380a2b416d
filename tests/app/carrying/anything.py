"""Files of other programs in which any value may be anything, and what holds of a conversation whatever they were."""

import json

from hypothesis import strategies as st

from app.carrying import render
from app.carrying.tale import Tale, numbered

DEEP = "[" * 100_000 + "]" * 100_000
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def objects(**known: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Objects that mostly have these values, and sometimes lack one or have anything in its place."""
    optional = {name: st.one_of(value, value, value, ANYTHING) for name, value in known.items()}
    return st.one_of(*[st.fixed_dictionaries({}, optional=optional)] * 4, ANYTHING)


def written(value: object) -> bytes:
    """`value` as JSON, half characters included."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def is_whole(tale: Tale) -> bool:
    """Whether a tale is as `Tale` promises, and can be carried on."""
    assert numbered(tale.conversation, tale.messages) == tale
    assert all(message.parent is None or message.parent < message.id for message in tale.messages)
    assert (tale.conversation.head is None) == (not tale.messages)
    assert all(message.content.strip() or message.reasoning.strip() for message in tale.messages)
    render(tale, "json").encode()
    return True
