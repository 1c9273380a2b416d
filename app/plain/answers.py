"""Questions and answers: asked, said as they come, asked anew; and the versions that there are of each."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from app import words
from app.chat.failures import ChangedError
from app.chat.store import Draft, Message
from app.chat.text import one_line
from app.conducting.lives import AnswerBegun, AnswerEnded, Entitled, FirstWords, Live, ModelMoved, News, Trouble
from app.home import expanded
from app.plain.room import SELDOM, Room

_LOOKS = 10
"""Times a second that a growing answer is looked at."""
_ENDS = {"complete": "Complete", "stopped": "Stopped", "interrupted": "Interrupted", "failed": "There is no answer"}
_NAMED = 60


class Answers:
    """What is asked, and what comes of it."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._begun: Live | None = None
        self._ended: AnswerEnded | None = None
        self._news = asyncio.Event()
        self.acts: dict[str, Callable[[str], Awaitable[None]]] = {
            "/again": self._again,
            "/edit": self._edit,
            "/continue": self._continue,
            "/branch": self._branch,
            "/versions": self._versions,
            "/read": self._read,
            "/attach": self._attach,
        }

    def hear(self, news: News) -> None:
        """What the conductor says."""
        match news:
            case AnswerBegun(live):
                self._begun, self._ended = live, None
            case AnswerEnded():
                self._ended = news
                self._news.set()
            case ModelMoved(sentence=sentence) | Trouble(sentence) if sentence:
                self._room.say(sentence)
            case ModelMoved() | Trouble() | Entitled() | FirstWords():
                pass

    # --- asking ---

    async def send(self, text: str, left: str | None = None) -> None:
        """Ask at the end of the conversation, and say the answer. QuietlyError where it cannot be stored.

        What was attached goes along; of the draft `left` stays, or its text where that is None.
        """
        room, model = self._room, self._room.model()
        if model is None:
            return
        store, page = room.store, room.current
        draft = store.draft(page)
        try:
            asked = await room.conductor.send(
                room.current,
                text,
                model,
                draft.attachments,
                seen=tuple(room.branch),
                temporary=room.temporary,
                settings=room.beginning.settings,
                system_prompt=room.beginning.system_prompt,
            )
        except ChangedError as error:
            room.look()
            if left is None:
                store.keep_draft(page, Draft("\n".join(filter(None, [draft.text, text])), draft.attachments))
            room.say(str(error), "Your words are kept: /paste goes on with them.")
            return
        store.keep_draft(page, Draft(draft.text if left is None else left))
        if room.current is None:
            room.go_to(asked.question.conversation)
        await self._follow(asked.answer)

    async def _again(self, _: str) -> None:
        model = self._room.model()
        question = self._last("user")
        if model is not None and question is not None:
            await self._follow(await self._room.conductor.answer(question, model))

    async def _edit(self, text: str) -> None:
        room, model = self._room, self._room.model()
        question = self._last("user")
        if model is None or question is None:
            return
        if not text:
            room.say("You asked:", question.content, "An empty line leaves it as it was.")
            text = await room.answer_to("Ask instead")
        if text:
            asked = await room.conductor.ask_instead(question, text, model, question.attachments)
            await self._follow(asked.answer)

    async def _continue(self, _: str) -> None:
        model = self._room.model()
        answer = self._last("assistant")
        if model is None or answer is None:
            return
        if answer.content or answer.reasoning:
            try:
                resumed = await self._room.conductor.go_on(answer, model)
            except ChangedError:
                self._room.look()
                raise
            await self._follow(resumed)
        else:
            await self._again("")

    def _last(self, role: str) -> Message | None:
        """The last message of `role`; where there is none the person is told."""
        found = next((message for message in reversed(self._room.branch) if message.role == role), None)
        if found is None:
            self._room.say("There is no message yet that this could be about.")
        return found

    async def _attach(self, typed: str) -> None:
        from app.attaching import read

        room = self._room
        typed = typed or await room.answer_to("Path of the file")
        if typed:
            store, page = room.store, room.current
            attached = await read(expanded(typed))
            draft = store.draft(page)
            store.keep_draft(page, Draft(draft.text, (*draft.attachments, attached)))
            size = words.size(len(attached.text.encode()))
            room.say(f"{one_line(attached.name, _NAMED)}, {size}, goes along with what you ask next.")

    # --- saying the answer ---

    async def _follow(self, begun: Message) -> None:
        """Say the answer as it comes, and how it ended."""
        live = self._begun
        assert live is not None and live.message == begun.id  # the conductor says so before it returns
        self._room.look(begun.id)
        telling = _Telling(self._room, live)
        while self._ended is None:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), 1 / _LOOKS)
            except TimeoutError:
                telling.go_on()
        if self._ended.message is not None:
            self._room.branch[-1:] = [self._ended.message]
        telling.end(self._ended)

    # --- versions ---

    async def _read(self, typed: str) -> None:
        room, branch = self._room, self._room.branch
        if typed and not typed.isdecimal():
            room.say("Say how many of the last messages, as /read 2; /read alone reads all.")
            return
        count = int(typed) if typed else len(branch)
        if not branch:
            room.say("Nothing has been said here yet.")
        for place, message in list(enumerate(branch, 1))[-count or len(branch) :]:
            room.say(*said(message, place))

    async def _branch(self, typed: str) -> None:
        room, branch = self._room, self._room.branch
        message = _numbered(branch, typed)
        if message is None:
            room.say(
                f"Say which message, from 1 to {len(branch)}, as /branch 2; /read tells their numbers."
                if branch
                else "Nothing has been said here yet."
            )
            return
        place = branch.index(message) + 1
        room.store.move_head(message.conversation, message.id)
        room.look()
        room.say(f"What you ask next follows message {place}. The other branch stays: /versions.")

    async def _versions(self, typed: str) -> None:
        room, branch = self._room, self._room.branch
        siblings = room.store.siblings(room.current, branch[-1].id) if room.current is not None and branch else {}
        number, _, version = typed.partition(" ")
        message = _numbered(branch, number)
        versions = siblings.get(message.id, ()) if message is not None else ()
        if room.current is not None and version.strip().isdecimal() and 1 <= int(version) <= len(versions):
            room.store.switch(room.current, versions[int(version) - 1])
            room.look()
            room.say(f"Message {number} is version {int(version)} of {len(versions)} now.")
            await self._read("2")
            return
        found = [
            f"Message {place} is version {siblings[each.id].index(each.id) + 1} of {len(siblings[each.id])}."
            for place, each in enumerate(branch, 1)
            if each.id in siblings
        ]
        room.say(*(found or ["No message here has other versions."]))
        if found:
            room.say("/versions 2 1 goes to version 1 of message 2.")


class _Telling:
    """How much of an answer has been said."""

    def __init__(self, room: Room, live: Live) -> None:
        self._room, self._live = room, live
        self._name = one_line(live.model.name, _NAMED)
        self._answer, self._reasoning = len(live.begun.content), len(live.begun.reasoning)
        """Characters of each that have been said."""
        self._part = ""
        self._last = time.monotonic()

    def go_on(self, *, to_the_end: bool = False) -> None:
        """Say what has come since."""
        written, voice = self._live.written, self._room.voice
        if len(written.reasoning) > self._reasoning:
            if self._room.settings.reasoning == "open":
                self._begin("reasoning", f"{self._name} thinks")
                whole = to_the_end or bool(written.answer)
                self._reasoning += voice.go_on(written.reasoning[self._reasoning :], to_the_end=whole)
            elif not self._part:
                self._part = "reasoning"
                voice.say(f"{self._name} is thinking.")
        if len(written.answer) > self._answer:
            self._begin("answer", self._name)
            self._answer += voice.go_on(written.answer[self._answer :], to_the_end=to_the_end)
        now = time.monotonic()
        if not self._part and now - self._last > SELDOM:
            self._last = now
            activity = words.activity(self._live.stage, written.done, written.total)
            voice.say(f"{activity[:1].upper()}{activity[1:]}.")

    def end(self, ended: AnswerEnded) -> None:
        """Say the rest, and in one line how it ended; then what there is to know about it."""
        self.go_on(to_the_end=True)
        room, message = self._room, ended.message
        took = "" if ended.status == "failed" else f" after {words.duration(self._live.seconds)}{_speed(message)}"
        room.say(f"{_ENDS[ended.status]}{took}.")
        room.say(*filter(None, [ended.remark, ended.note]))

    def _begin(self, part: str, who: str) -> None:
        if self._part != part:
            self._part = part
            self._room.voice.announce(who)


def _speed(message: Message | None) -> str:
    if message is None or not message.completion_tokens or message.completion_tokens < 2 or not message.decode_seconds:
        return ""
    return f", {(message.completion_tokens - 1) / message.decode_seconds:,.1f} tokens a second"


def said(message: Message, place: int) -> list[str]:
    """A stored message as it is read out: whose it is, its words, and how an answer ended that did not by itself."""
    who = "You" if message.role == "user" else one_line(message.model or "Answer", _NAMED)
    lines = [f"Attached: {one_line(one.name, _NAMED)}" for one in message.attachments]
    ending = [] if message.status == "complete" else [f"{_ENDS.get(message.status, 'Being written')}."]
    return [f"{place}. {who}: {message.content}", *lines, *ending, *filter(None, [message.note])]


def _numbered(branch: list[Message], typed: str) -> Message | None:
    return branch[int(typed) - 1] if typed.isdecimal() and 1 <= int(typed) <= len(branch) else None
