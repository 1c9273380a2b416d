"""Messages: write them anew, answer them again, go on from them, branch, delete, copy, quote.

An act is about the message that the keyboard stands on in the transcript, else about the latest it can be about.
"""

from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from app.chat.store import Message, Role
from app.chat.text import one_line
from app.errors import QuietlyError
from app.tui.actions import BY_ID
from app.tui.following import aside
from app.tui.room import Room

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.models import Models
    from app.tui.desks.undo import Undo
    from app.tui.desks.writing import Writing

_MENU = (
    "message.edit",
    "message.regenerate",
    "message.regenerate_with",
    "message.compare",
    "message.continue",
    "message.probabilities",
    "message.branch",
    "message.quote",
    "message.copy",
    "message.copy_text",
    "message.copy_code",
    "message.links",
    "message.delete",
)


class Messages:
    """What can be done with what was said."""

    def __init__(self, room: Room, models: "Models", writing: "Writing", undo: "Undo") -> None:
        self._room, self._models, self._writing, self._undo = room, models, writing, undo
        self._beginning: set[int] = set()
        """Conversations in which an answer is being begun: a key held down must not begin two."""
        self.acts: dict[str, Act] = {
            "message.edit": lambda _: self._about(self._writing.edit, "user", still=True),
            "message.regenerate": lambda _: self._about(self._again),
            "message.regenerate_with": lambda name: self._about(partial(self._again_with, name=name)),
            "message.continue": lambda _: self._about(self._continue, only="assistant", still=True),
            "message.branch": lambda _: self._about(self.branch, still=True),
            "message.delete": lambda _: self._about(self.delete),
            "message.quote": lambda _: self._about(self._quote),
            "message.copy": lambda _: self._about(lambda message: room.copy(message.content, "as Markdown")),
            "message.copy_text": lambda _: self._about(self._copy_text),
            "message.copy_code": lambda _: self._about(self._copy_code),
            "message.links": lambda _: self._about(self._open_link),
        }

    # --- which message ---

    def target(self, prefer: Role = "assistant", only: Role | None = None) -> Message | None:
        """The message that an act is about; None where there is none of the wanted kind."""
        room = self._room
        key = room.transcript.current
        chosen = room.message(key) if key is not None else None
        if chosen is not None and (only is None or chosen.role == only):
            return chosen
        wanted = only or prefer
        return next((message for message in reversed(room.branch) if message.role == wanted), None)

    def _about(
        self, act: "partial[object] | Any", prefer: Role = "assistant", only: Role | None = None, still: bool = False
    ) -> object:
        """Act on the message in question; `still`: not while an answer is being written here."""
        message = self.target(prefer, only)
        if message is None:
            self._room.decline("There is no message yet that this could be about.")
            return None
        if still and self.busy():
            return None
        return act(message)

    def busy(self) -> bool:
        """Whether an answer is being written in view; the person is told."""
        current = self._room.current
        writing = current in self._beginning or self._room.conductor.live(current) is not None
        if writing:
            self._room.decline("An answer is being written. Press Esc to stop it first.")
        return writing

    def question_of(self, message: Message) -> Message | None:
        """The question that `message` is or answers."""
        if message.role == "user":
            return message
        return self._room.message(message.parent) if message.parent is not None else None

    # --- answers ---

    def _again(self, message: Message) -> None:
        model = self._models.chosen()
        if model is not None:
            self.answer_again(message, model)

    def _again_with(self, message: Message, name: str) -> None:
        self._models.pick("Answer again with…", name, partial(self.answer_again, message))

    def answer_again(self, message: Message, model: "InstalledModel") -> None:
        """Another answer to the question that `message` is or answers, beside those it has."""
        if self.busy():
            return
        if (question := self.question_of(message)) is not None:
            self._begin(message.conversation, self._room.conductor.answer(question, model))

    def _continue(self, message: Message) -> None:
        model = self._models.chosen()
        if model is None:
            return
        if not message.content and not message.reasoning:
            self.answer_again(message, model)
        else:
            self._begin(message.conversation, self._room.conductor.go_on(message, model))

    def go_on_from(self, message: Message, model: "InstalledModel", text: str, ids: tuple[int, ...]) -> None:
        """A new answer beside `message` that begins with `text`, which is what the tokens `ids` read as."""
        if not self.busy():
            self._begin(message.conversation, self._room.conductor.go_on_from(message, model, text, "", ids))

    def _begin(self, conversation: int, work: "Coroutine[Any, Any, Message]") -> None:
        """Store and ask aside, then show the answer that has begun."""
        room = self._room
        self._beginning.add(conversation)

        async def begin() -> None:
            try:
                answer = await work
            except QuietlyError as error:
                room.refused(error)
                return
            finally:
                self._beginning.discard(conversation)
            if answer.conversation == room.current:
                room.reread(answer.id if room.transcript.has_focus else None)
                room.transcript.follow()

        aside(room.app, begin, "answers")

    # --- the tree ---

    def branch(self, message: Message) -> None:
        """Let the next question follow `message`; what followed it so far stays as another branch."""
        room = self._room
        store = room.stores.of(message.conversation)
        if room.guarded(lambda: store.move_head(message.conversation, message.id)):
            room.reread(message.id)
            room.say("What you send next follows this message. The other branch stays: ‹ › on the message after it.")
            self._writing.focus()

    def step(self, key: int, step: int) -> None:
        """Bring the next or the previous sibling of a message into view."""
        room = self._room
        siblings = room.siblings.get(key, ())
        if key not in siblings or room.current is None:
            return
        place = siblings.index(key) + step
        if 0 <= place < len(siblings) and not self.busy():
            self.show(room.current, siblings[place])

    def show(self, conversation: int, message: int) -> None:
        """Bring a message of another branch into view."""
        room = self._room

        def switch() -> None:
            room.stores.of(message).switch(conversation, message)
            room.reread(message)

        room.guarded(switch)

    def delete(self, message: Message) -> None:
        """Remove a message with all that follows it; undo brings it back."""
        room = self._room
        if self.busy():
            return
        store = room.stores.of(message.conversation)
        removed = store.remove_message(message.id)
        room.conductor.let_go(message.conversation)
        room.reread(message.parent)

        def shown_again() -> None:
            if room.current == message.conversation:
                room.reread(message.id)

        what = "your question" if message.role == "user" else "the answer"
        self._undo.offer(what, store, removed, shown_again)

    # --- words ---

    def _quote(self, message: Message) -> None:
        selected = self._room.screen.get_selected_text()
        self._writing.quote(selected or message.content)

    def _copy_text(self, message: Message) -> None:
        self._room.copy(self._room.transcript.text(message.id), "as text")

    def _copy_code(self, message: Message) -> None:
        from app.tui.palette import Choice, choose

        room = self._room
        codes = room.transcript.codes(message.id)
        match codes:
            case []:
                room.decline("There is no code block in this message.")
            case [code]:
                room.copy(code, "the code")
            case _:
                choose(
                    room.app,
                    "Copy a code block…",
                    [Choice(one_line(code, 60), _lines(code), partial(room.copy, code, "the code")) for code in codes],
                )

    def _open_link(self, message: Message) -> None:
        from app.tui.palette import Choice, choose

        links = list(dict.fromkeys(self._room.transcript.links(message.id)))
        match links:
            case []:
                self._room.decline("There is no link in this message.")
            case [link]:
                self.open_link(link)
            case _:
                choose(
                    self._room.app,
                    "Open a link…",
                    [Choice(one_line(link, 70), "", partial(self.open_link, link)) for link in links],
                )

    def open_link(self, url: str) -> None:
        """Open http and https, after a question that shows where it leads."""
        from app.tui.links import link_question, open_link
        from app.tui.screens.asking import Confirm

        asked = link_question(url)
        if isinstance(asked, str):
            self._room.decline(asked, wrong=True)
            return
        question, detail = asked

        def answered(yes: bool | None) -> None:
            if yes and (sentence := open_link(url)):
                self._room.say(sentence, wrong=True)

        self._room.app.push_screen(Confirm(question, "Open", detail), answered)

    # --- the menu ---

    def menu(self, key: int) -> None:
        """Everything that can be done with one message."""
        from app.tui.screens.menu import Menu, MenuRow

        room = self._room
        message = room.message(key)
        if message is None:
            return
        room.transcript.set_current(key)
        rows = []
        for id in _MENU:
            action, why = BY_ID[id], self._why_not(id, message)
            rows.append(MenuRow(id, action.label.rstrip("…"), action.keys.split(",")[0], not why, why))

        def chosen(id: str | None) -> None:
            if id is not None:
                aside(room.app, partial(room.screen.run_action, f"act('{id}')"))

        room.app.push_screen(Menu("Your message" if message.role == "user" else "The answer", rows), chosen)

    def _why_not(self, id: str, message: Message) -> str:
        """Why an act makes no sense for `message`; "" where it does."""
        transcript = self._room.transcript
        match id:
            case "message.continue" if message.role == "user":
                return "only answers"
            case "message.probabilities" if message.role == "user":
                return "only answers"
            case "message.probabilities" if not message.token_ids:
                return "its tokens are not known"
            case "message.copy_code" if not transcript.codes(message.id):
                return "no code here"
            case "message.links" if not transcript.links(message.id):
                return "no link here"
        return ""


def _lines(code: str) -> str:
    count = code.count("\n") + 1
    return f"{count:,} line{'' if count == 1 else 's'}"
