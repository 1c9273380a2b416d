"""Whatever is said, left and deleted, every conversation stays a tree and comes back the same."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from app.chat.store import Attachment, Draft, Removed, Store
from app.errors import QuietlyError

TEXTS = st.text(st.characters(codec=None, categories=None), max_size=20)
ATTACHMENTS = st.lists(st.builds(Attachment, st.text(max_size=5), st.text(max_size=5)), max_size=2)

Tree = dict[int, int | None]
"""Messages and what each of them follows."""


def below(tree: Tree, message: int) -> Tree:
    """The part of `tree` that `message` begins."""
    part: Tree = {message: tree[message]}
    for one in sorted(tree):
        if tree[one] in part:
            part[one] = tree[one]
    return part


class Conversations(RuleBasedStateMachine):
    """The store beside a model of it: per conversation its head, per message its parent."""

    conversations = Bundle("conversations")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "data" / "conversations.sqlite3"
        self.store = Store.open(self.path)
        self.heads: dict[int, int | None] = {}
        self.parents: dict[int, Tree] = {}
        self.writing: set[int] = set()
        self.undo: list[tuple[Removed, int, int | None, Tree]] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(target=conversations, title=TEXTS)
    def create(self, title: str) -> int:
        made = self.store.create(title=title).id
        assert made not in self.heads
        self.heads[made], self.parents[made] = None, {}
        return made

    @rule(conversation=conversations, data=st.data(), content=TEXTS, attachments=ATTACHMENTS)
    def ask(self, conversation: int, data: st.DataObject, content: str, attachments: list[Attachment]) -> None:
        parent = data.draw(st.sampled_from([None, *self.parents[conversation]]))
        asked = self.store.ask(conversation, parent, content, attachments)
        assert asked.attachments == tuple(attachments)
        self.said(conversation, parent, asked.id)

    @rule(conversation=conversations, data=st.data(), finished=st.booleans())
    def answer(self, conversation: int, data: st.DataObject, finished: bool) -> None:
        if not self.parents[conversation]:
            return
        parent = data.draw(st.sampled_from(list(self.parents[conversation])))
        begun = self.store.begin_answer(conversation, parent, "starter", {"seed": 1})
        if finished:
            self.store.finish(begun.id, "complete", answer="answer", token_ids=[1, 2])
        else:
            self.writing.add(begun.id)
        self.said(conversation, parent, begun.id)

    @rule(conversation=conversations, data=st.data())
    def resume(self, conversation: int, data: st.DataObject) -> None:
        tree = self.parents[conversation]
        answers = [one for one in tree if one not in tree.values() and one not in self.writing]
        if not answers:
            return
        message = data.draw(st.sampled_from(answers))
        if self.role(message) == "user":
            with pytest.raises(QuietlyError, match="is a question"):
                self.store.resume(message, "starter")
            return
        assert self.store.resume(message, "starter").status == "writing"
        self.writing.add(message)
        self.heads[conversation] = message

    def role(self, message: int) -> str:
        with self.store._reading() as connection:
            return str(connection.execute("SELECT role FROM messages WHERE id = ?", (message,)).fetchone()[0])

    def said(self, conversation: int, parent: int | None, message: int) -> None:
        self.parents[conversation][message] = parent
        self.heads[conversation] = message

    @rule(conversation=conversations, data=st.data())
    def move(self, conversation: int, data: st.DataObject) -> None:
        head = data.draw(st.sampled_from([None, *self.parents[conversation]]))
        self.store.move_head(conversation, head)
        self.heads[conversation] = head

    @rule(conversation=conversations, data=st.data())
    def switch(self, conversation: int, data: st.DataObject) -> None:
        if not self.parents[conversation]:
            return
        message = data.draw(st.sampled_from(list(self.parents[conversation])))
        self.store.switch(conversation, message)
        self.heads[conversation] = max(below(self.parents[conversation], message))

    @rule(conversation=conversations, content=TEXTS, attachments=ATTACHMENTS)
    def draft(self, conversation: int, content: str, attachments: list[Attachment]) -> None:
        self.store.keep_draft(conversation, Draft(content, tuple(attachments)))

    @rule(conversation=conversations, data=st.data(), back_at_once=st.booleans())
    def remove(self, conversation: int, data: st.DataObject, back_at_once: bool) -> None:
        tree = self.parents[conversation]
        if not tree:
            return
        message = data.draw(st.sampled_from(list(tree)))
        part = below(tree, message)
        before = self.contents()
        if self.writing & set(part):
            with pytest.raises(QuietlyError, match="stop it first"):
                self.store.remove_message(message)
            assert self.contents() == before
            return
        removed = self.store.remove_message(message)
        if back_at_once:
            self.store.restore(removed)
            assert self.contents() == before
            return
        self.undo.append((removed, conversation, self.heads[conversation], part))
        for one in part:
            del tree[one]
        if self.heads[conversation] in part:
            beside = [one for one, parent in tree.items() if parent == part[message]]
            nearest = min(beside, key=lambda one: (one > message, abs(one - message)), default=None)
            self.heads[conversation] = part[message] if nearest is None else max(below(tree, nearest))

    @precondition(lambda self: self.undo)
    @rule()
    def restore(self) -> None:
        removed, conversation, head, part = self.undo.pop()
        if conversation not in self.heads:
            with pytest.raises(QuietlyError, match="is not here"):
                self.store.restore(removed)
            return
        self.store.restore(removed)
        self.store.restore(removed)  # what is back already is left alone
        self.parents[conversation] |= part
        self.heads[conversation] = head

    @rule(conversation=conversations)
    def remove_a_conversation_and_think_better_of_it(self, conversation: int) -> None:
        before = self.contents()
        removed = self.store.remove_conversation(conversation)
        self.store.restore(removed)
        if not self.writing & set(self.parents[conversation]):
            assert self.contents() == before
        self.writing -= set(self.parents[conversation])

    @rule(conversation=consumes(conversations))
    def delete(self, conversation: int) -> None:
        self.store.delete(conversation)
        del self.heads[conversation], self.parents[conversation]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.writing.clear()
        self.undo.clear()
        before = self.contents()
        self.store = Store.open(self.path)
        assert self.contents() == before

    def contents(self) -> list[str]:
        """All rows of the file, in an order of their own: what was put back may lie elsewhere."""
        connection = sqlite3.connect(self.path)
        try:
            return sorted(connection.iterdump())
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
                expected = sorted(child for child, parent in parents.items() if parent == message)
                assert [child.id for child in self.store.children(message, conversation)] == expected

    @invariant()
    def siblings_are_the_children_of_one_message(self) -> None:
        for conversation in self.heads:
            families = {
                message.id: tuple(one.id for one in self.store.children(message.parent, conversation))
                for message in self.store.branch(conversation)
            }
            expected = {one: family for one, family in families.items() if len(family) > 1}
            assert self.store.siblings(conversation) == expected

    @invariant()
    def no_message_is_left_without_its_conversation(self) -> None:
        with self.store._reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
            assert count == sum(map(len, self.parents.values()))
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=25, stateful_step_count=25)
