"""Titles that a model gives, in moments when nothing else is asked of the engine.

The first line of a question is its conversation's title at once. A model that is large enough to do it well may
replace it later: in a scratch session, at rest only, and let go at once when anything else is wanted.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from app.chat.text import one_line
from app.errors import QuietlyError

if TYPE_CHECKING:
    from app.chat.store import Store
    from app.conducting.engines import PoolLike
    from app.conducting.lives import Live
    from app.engine.protocol import ChatMessage

LARGE_ENOUGH = 1_000_000_000
"""Parameters; smaller models repeat the question or begin to answer it."""
REST = 3.0
"""Seconds without any request before a title is asked for."""
LONGEST = 32
"""Tokens."""
_READ = 1_500
"""Characters of the question and of the answer that are shown to the model."""
_WIDTH = 60
_AROUND = " \"'“”‘’„«»「」『』*_`#.。"
_LABEL = re.compile(r"^\W*(?:title|titel|titre|título|标题|題名|タイトル)\s*[:：]\s*", re.IGNORECASE)


class Titles:
    """At most one title is under way."""

    def __init__(self, of: "Callable[[int], Store]", done: Callable[[int], object], wanted: Callable[[], bool]) -> None:
        """`of` gives the store of a conversation; `done` is called with one that has a new title; `wanted` says
        whether the person wants any."""
        self._of, self._wanted = of, wanted
        self._done = done
        self._due: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def consider(self, live: "Live", pool: "PoolLike") -> None:
        """An answer has ended: entitle its conversation when the engine has been at rest for a while."""
        facts = pool.loaded(live.model.path)
        if facts is None or facts.parameters < LARGE_ENOUGH or not live.written.answer.strip() or not self._wanted():
            return
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(REST, self._begin, live, pool)

    async def give_way(self) -> None:
        """Something else is wanted of the engine; returns when it is free."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])  # unlike awaiting it, not cut short by how it ends, and no end to who waits

    def _begin(self, live: "Live", pool: "PoolLike") -> None:
        self._due = None
        self._task = asyncio.create_task(self._entitle(live, pool))

    async def _entitle(self, live: "Live", pool: "PoolLike") -> None:
        from app.engine.protocol import SCRATCH, Reading

        store, conversation = self._of(live.conversation), live.conversation
        with contextlib.suppress(QuietlyError):  # a title is no reason to trouble anyone
            record = await asyncio.to_thread(store.conversation, conversation)
            if record.titled_by != "line":
                return
            branch = await asyncio.to_thread(store.branch, conversation)
            if len(branch) < 2:
                return
            written = ""
            try:
                async for event in pool.ask(
                    live.model.path,
                    _request(branch[0].content, branch[1].content),
                    session=SCRATCH,
                    reading=Reading(thinking=False),  # there is no room for it
                    max_tokens=LONGEST,
                ):
                    written += _answer_text(event)
            finally:
                pool.forget(SCRATCH)
            title = cleaned(written)
            if not title:
                return
            renamed: bool = await asyncio.to_thread(partial(store.rename, conversation, title, by="model"))
            if renamed:
                self._done(conversation)


def _answer_text(event: object) -> str:
    from app.engine.protocol import Delta

    return event.text if isinstance(event, Delta) and event.part == "answer" else ""


def _request(question: str, answer: str) -> "list[ChatMessage]":
    from app.engine.protocol import ChatMessage

    return [
        ChatMessage(
            "user",
            "Give the conversation below a title of two to six words, in the language of its question. "
            "Answer with the title alone.\n\n"
            f"Question:\n{question[:_READ]}\n\nAnswer:\n{answer[:_READ]}",
        )
    ]


def cleaned(written: str) -> str:
    """What a model wrote, as a title: its first line without quotes, labels and a full stop; "" where nothing is
    left."""
    line = next((line for line in written.splitlines() if line.strip()), "")
    line = _LABEL.sub("", one_line(line, 4 * _WIDTH)).strip(_AROUND)
    return one_line(line, _WIDTH)
