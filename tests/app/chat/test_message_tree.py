"""Whatever is said, left and deleted, every conversation stays a tree and comes back the same."""

import sqlite3
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from app.chat.store import Store

TEXTS = st.text(st.characters(codec=None, categories=None), max_size=20)


class Conversations(RuleBasedStateMachine):
    """The store beside a model of it: per conversation its head, per message its parent."""

    conversations = Bundle("conversations")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "data" / "conversations.sqlite3"
        self.store = Store.open(self.path)
        self.heads: dict[int, int | None] = {}
        self.parents: dict[int, dict[int, int | None]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(target=conversations, title=TEXTS)
    def create(self, title: str) -> int:
        made = self.store.create(title=title).id
        assert made not in self.heads
        self.heads[made], self.parents[made] = None, {}
        return made

    @rule(conversation=conversations, data=st.data(), content=TEXTS)
    def ask(self, conversation: int, data: st.DataObject, content: str) -> None:
        parent = data.draw(st.sampled_from([None, *self.parents[conversation]]))
        self.said(conversation, parent, self.store.ask(conversation, parent, content).id)

    @rule(conversation=conversations, data=st.data(), finished=st.booleans())
    def answer(self, conversation: int, data: st.DataObject, finished: bool) -> None:
        if not self.parents[conversation]:
            return
        parent = data.draw(st.sampled_from(list(self.parents[conversation])))
        begun = self.store.begin_answer(conversation, parent, "starter", {"seed": 1})
        if finished:
            self.store.finish(begun.id, "complete", answer="answer", token_ids=[1, 2])
        self.said(conversation, parent, begun.id)

    def said(self, conversation: int, parent: int | None, message: int) -> None:
        self.parents[conversation][message] = parent
        self.heads[conversation] = message

    @rule(conversation=conversations, data=st.data())
    def move(self, conversation: int, data: st.DataObject) -> None:
        head = data.draw(st.sampled_from([None, *self.parents[conversation]]))
        self.store.move_head(conversation, head)
        self.heads[conversation] = head

    @rule(conversation=consumes(conversations))
    def delete(self, conversation: int) -> None:
        self.store.delete(conversation)
        del self.heads[conversation], self.parents[conversation]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        before = self.contents()
        self.store = Store.open(self.path)
        assert self.contents() == before

    def contents(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    @invariant()
    def every_branch_runs_from_its_opening_to_the_head(self) -> None:
        assert {found.id: found.head for found in self.store.conversations()} == self.heads
        for conversation, head in self.heads.items():
            line: list[int] = []
            while head is not None:
                line.insert(0, head)
                head = self.parents[conversation][head]
            assert [message.id for message in self.store.branch(conversation)] == line

    @invariant()
    def children_are_what_was_said_after_a_message(self) -> None:
        for conversation, parents in self.parents.items():
            for message in (None, *parents):
                expected = [child for child, parent in parents.items() if parent == message]
                assert [child.id for child in self.store.children(message, conversation)] == expected

    @invariant()
    def no_message_is_left_without_its_conversation(self) -> None:
        with self.store._reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
            assert count == sum(map(len, self.parents.values()))
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
