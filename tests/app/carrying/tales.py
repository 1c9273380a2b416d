"""Conversations to carry: every kind of text, branches, attachments, states and measurements, by Hypothesis."""

import struct

import msgspec
from hypothesis import strategies as st

from app.carrying.tale import Tale, numbered, said
from app.chat.records import Attachment, Conversation, GenerationSettings, Message, Role, Status

_LINES = """\
# heading
## You <!-- quietly:user {} -->
## Model <!-- quietly:assistant {} -->
<!-- \\quietly:assistant {} -->
\\<!-- quietly:status -->
<!-- quietly:data
-->
---
title: x
```
````
```python
~~~
   ```
print('a')
<!-- open
<details>
</details>
<pre>
</pre>
<script>
<?php
<!DOCTYPE
<![CDATA[
> quote
- item

\x20\x20
|a|b|
===
`
[a]: b
    code
$$
東京 学习 서울
שלום \u202eabc\u2066
👩\u200d👩\u200d👧 😀\ufe0f
Setext\v---"""
LINES = st.sampled_from([line.replace("\v", "\n") for line in _LINES.split("\n")])
MARKDOWN = st.lists(LINES, max_size=8).map("\n".join)
# What Markdown shows as it is: no controls but tab and line feed, no lone surrogates.
PLAIN = MARKDOWN | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n\t"), max_size=80
)
# What a store can hold.
TEXTS = (
    PLAIN
    | st.lists(LINES | st.sampled_from(["\x00", "\x1b[31m", "\x9b", "\r"]), max_size=8).map("\r\n".join)
    | st.text(st.characters(codec="utf-8"), max_size=80)
)
NAMES = st.sampled_from(["starter", "qwen2.5-7b"]) | TEXTS
TIMES = st.floats(0, 4e9) | st.sampled_from([1_763_786_915.123_456_7, 0.0, 1e308, -5.0])
SECONDS = st.none() | st.floats(0, 1e6)
COUNTS = st.none() | st.integers(0, (1 << 63) - 1)
ATTACHMENTS = st.lists(st.builds(Attachment, TEXTS, TEXTS), max_size=2).map(tuple)
SETTINGS = st.builds(
    GenerationSettings,
    temperature=st.none() | st.floats(0, 2),
    top_k=st.none() | st.integers(1, 100),
    seed=st.none() | st.integers(0, (1 << 64) - 1),
    overflow=st.sampled_from([None, "oldest", "stop", "rolling"]),
    thinking=st.none() | st.booleans(),
)
VALUES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, (1 << 64) - 1) | st.booleans() | TEXTS
_MEASURED = ("fingerprint", "packed_ids", "prompt_tokens", "completion_tokens", "first_token_seconds", "decode_seconds")
STATUSES: list[Status] = ["complete", "writing", "stopped", "interrupted", "failed"]


@st.composite
def messages(draw: st.DrawFn, identity: int, parent: int | None) -> Message:
    role: Role = draw(st.sampled_from(["user", "assistant"]))
    words = {"content": draw(TEXTS), "attachments": draw(ATTACHMENTS), "created": draw(TIMES)}
    common = {"id": identity, "conversation": 7, "parent": parent, "role": role, **words}
    if role == "user":
        return Message(
            **common, **dict.fromkeys(_MEASURED), reasoning="", model=None, sampling=None, status="complete", note=""
        )
    tokens = draw(st.none() | st.lists(st.integers(0, (1 << 32) - 1), max_size=9))
    return Message(
        **common,
        reasoning=draw(st.just("") | TEXTS),
        model=draw(st.none() | NAMES),
        fingerprint=draw(st.none() | st.text("0123456789abcdef", min_size=8, max_size=8)),
        sampling=draw(st.none() | st.dictionaries(NAMES, VALUES, max_size=3)),
        status=draw(st.sampled_from(STATUSES)),
        note=draw(st.just("") | TEXTS),
        packed_ids=None if tokens is None else struct.pack(f"<{len(tokens)}I", *tokens),
        prompt_tokens=draw(COUNTS),
        completion_tokens=draw(COUNTS),
        first_token_seconds=draw(SECONDS),
        decode_seconds=draw(SECONDS),
        edited=draw(st.booleans()),
    )


@st.composite
def tales(draw: st.DrawFn, most: int = 6) -> Tale:
    """A conversation with any tree of messages, as a store could have it."""
    told: list[Message] = []
    for place in range(draw(st.integers(0, most))):
        # Mostly the one before, or there would hardly be a branch of some length.
        parent = draw(st.sampled_from([place, place, *range(place)])) if place else 0
        told.append(draw(messages(identity=place + 1, parent=parent or None)))
    conversation = Conversation(
        id=7,
        title=draw(NAMES),
        created=draw(TIMES),
        updated=draw(TIMES),
        head=draw(st.sampled_from([None, *range(1, len(told) + 1)])),
        system_prompt=draw(st.just("") | TEXTS),
        model=draw(st.none() | NAMES),
        pinned=draw(st.booleans()),
        titled_by=draw(st.sampled_from(["line", "model", "person"])),
        settings=draw(SETTINGS),
    )
    return numbered(conversation, told)


def tale(*said: Message, title: str = "Light", **about: object) -> Tale:
    """A conversation of these messages, each following the one before it unless it says otherwise."""
    told = []
    for place, message in enumerate(said, 1):
        follows = place - 1 if message.parent is None and place > 1 else message.parent
        told.append(msgspec.structs.replace(message, id=place, parent=follows or None))
    conversation = Conversation(0, title, 1_700_000_000.25, 1_700_000_100.0, len(told) or None, "", "starter")
    return numbered(msgspec.structs.replace(conversation, **about), told)


def question(content: str, *attachments: Attachment, parent: int | None = None) -> Message:
    return said(0, parent, "user", content, 1_700_000_001.5, attachments=attachments)


def answer(content: str, reasoning: str = "", parent: int | None = None, **about: object) -> Message:
    """An answer; `parent` 0 opens the conversation."""
    plain = said(0, parent, "assistant", content, 1_700_000_002.5, reasoning=reasoning, model="starter")
    return msgspec.structs.replace(plain, **about)
