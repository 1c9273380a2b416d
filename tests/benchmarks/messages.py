"""What the measurements of the window talk about: messages of 1.5 KB, an endless answer, a store full of both."""

from app.chat.store import Store

RATE = 100
"""Tokens a second that a synthetic engine writes."""
TOKEN = 4
"""Characters in one."""
PARAGRAPH = "Words that an answer is made of, **some** of them bold, `others` code, and all of them to be wrapped. "
LIST = "- one\n- two\n- three"
FUNCTION = "```python\ndef f(x):\n    return x + 1\n```"
MESSAGE = f"{PARAGRAPH * 4}\n\n{LIST}\n\n{FUNCTION}\n\n{PARAGRAPH * 8}"
PROSE = f"{PARAGRAPH * 3}\n\n- {PARAGRAPH}\n- {PARAGRAPH}\n\n"
CODE = "    value = compute(left, 'text', 42)  # and why\n"
FENCE = "```python\n"


def fill(store: Store, count: int) -> int:
    """A conversation of `count` messages, questions and answers in turn; returns its id."""
    made = store.create(title="Long", model="starter")
    head: int | None = None
    for number in range(0, count, 2):
        head = store.ask(made.id, head, f"{number} {MESSAGE}").id
        head = store.begin_answer(made.id, head, "starter", {}).id
        store.finish(
            head,
            "complete",
            answer=f"{number + 1} {MESSAGE}",
            prompt_tokens=400,
            completion_tokens=400,
            first_token_seconds=0.3,
            decode_seconds=4.0,
        )
    return made.id
