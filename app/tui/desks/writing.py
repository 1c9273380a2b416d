"""Writing: what stands in the composer, what goes along with it, and how it is sent.

A draft belongs to its conversation and is on disk half a second after the last key; what is edited takes the
composer over until it is sent or left.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.timer import Timer

from app import words
from app.chat.store import Attachment, Draft, Message, Preset, Store
from app.chat.text import one_line
from app.errors import QuietlyError
from app.home import expanded
from app.tui.actions import command
from app.tui.following import aside, in_place
from app.tui.room import Room
from app.tui.widgets.attachments import AttachmentRow

if TYPE_CHECKING:
    from app.engine.protocol import Counted
    from app.library.local import InstalledModel
    from app.tui.desks.conversations import Act
    from app.tui.desks.models import Models

KEEP_AFTER = 0.5
"""Seconds after the last key until a draft is on disk."""
COUNT_AFTER = 0.25
"""Seconds after the last key until its tokens are counted."""

_Page = tuple[Store, int | None]
"""Where a draft belongs: a conversation, or the empty page of one of the stores."""

_BANNERS = {
    "user": "Editing your question · Esc leaves it · {send} sends it as a branch",
    "assistant": "Editing the answer · Esc leaves it · {send} keeps it as a branch",
}


class Writing:
    """The composer's desk."""

    def __init__(self, room: Room, models: "Models") -> None:
        self._room, self._models = room, models
        self._attached: list[Attachment] = []
        self._tokens: dict[Attachment, int] = {}
        self._editing: Message | None = None
        self._set_aside = Draft()
        self._on_disk: Draft | None = None
        """What is stored of the page in view, as far as known."""
        self._keeping = asyncio.Lock()
        """Held while drafts are stored aside."""
        self._wanted: dict[_Page, Draft] = {}
        """By page the newest draft that has yet to be stored aside."""
        self._keep_due: Timer | None = None
        self._count_due: Timer | None = None
        self._sending = False
        self._unkept: dict[_Page, Draft] = {}
        """Drafts that could not be stored when their page was left."""
        self._reading: list[_Page] = []
        """Where files are being read that are to go along, once for each."""
        self.acts: dict[str, Act] = {
            "writing.attach": self._ask_for_file,
            "writing.editor": lambda _: self._edit_outside(),
        }

    # --- the composer ---

    def focus(self) -> None:
        """Put the cursor into the composer."""
        self._room.screen.remove_class("-open")
        # At once, not when the screen gets to it: what is typed right behind belongs there.
        self._room.screen.set_focus(self._room.area.composer)

    @property
    def draft(self) -> Draft:
        """What stands there now."""
        return Draft(self._room.area.composer.text, tuple(self._attached))

    def load(self, draft: Draft) -> None:
        """Let `draft` stand there."""
        composer = self._room.area.composer
        composer.load_text(draft.text)
        composer.move_cursor(composer.document.end)
        self._attached = list(draft.attachments)
        self._show_attachments()

    def _clear(self, text: str, attached: Sequence[Attachment]) -> None:
        """What was sent goes; what has been typed since stays."""
        self._room.area.composer.take(text)
        self._attached = [one for one in self._attached if one not in attached]
        self._show_attachments()

    def stored(self, conversation: int | None, temporary: bool = False) -> Draft:
        """What was being written there. QuietlyError where that cannot be read: then it must not be overwritten."""
        page = self._page_of(conversation, temporary)
        unkept = self._unkept.get(page)
        return page[0].draft(conversation) if unkept is None else unkept

    def enter(self, draft: Draft) -> None:
        """Another conversation is in view: its draft, and what can be recalled."""
        self._on_disk = draft
        self.load(draft)
        self._room.guarded(self._recall)
        self.count_soon()

    def _recall(self) -> None:
        self._room.area.composer.prompts = self._room.stores.disk.prompts()

    def leave(self) -> None:
        """Another conversation is about to come into view: what stands here is kept."""
        self.end_editing()
        self.keep()

    def changed(self) -> None:
        """Something was typed, attached or removed: keep it soon, and count it soon."""
        if self._keep_due is not None:
            self._keep_due.stop()
        self._keep_due = self._room.screen.set_timer(KEEP_AFTER, self._keep_aside)
        self.count_soon()

    def count_soon(self) -> None:
        """Tokens, context or model have changed: count again soon."""
        if self._count_due is not None:
            self._count_due.stop()
        self._count_due = self._room.screen.set_timer(COUNT_AFTER, self._count_aside)

    def keep(self) -> None:
        """Put the draft on disk now."""
        if self._keep_due is not None:
            self._keep_due.stop()
            self._keep_due = None
        page, draft = self._page, self._own_draft()
        store, conversation = page
        if self._keeping.locked():
            self._wanted[page] = draft  # an older one is on its way, and may arrive behind this
        elif draft == self._on_disk and page not in self._unkept:
            return  # the disk, which another program may hold up, is not asked for nothing
        if self._room.guarded(lambda: store.keep_draft(conversation, draft)):
            self._on_disk = draft
            self._unkept.pop(page, None)
        else:
            self._unkept[page] = draft

    def _keep_aside(self) -> None:
        self._keep_due = None
        self._wanted[self._page] = self._own_draft()
        aside(self._room.app, partial(self._keep_wanted, self._page), "draft")

    async def _keep_wanted(self, page: _Page) -> None:
        store, conversation = page
        async with self._keeping:
            while (draft := self._wanted.pop(page, None)) is not None:
                try:
                    await asyncio.to_thread(store.keep_draft, conversation, draft)
                except QuietlyError as error:
                    self._room.refused(error)
                    return
                if page == self._page:
                    self._on_disk = draft

    def _own_draft(self) -> Draft:
        """The conversation's draft: while a message is edited, what was set aside for it."""
        return self.draft if self._editing is None else self._set_aside

    @property
    def _page(self) -> _Page:
        """Where what stands here belongs."""
        return self._page_of(self._room.current, self._room.temporary)

    def _page_of(self, conversation: int | None, temporary: bool) -> _Page:
        stores = self._room.stores
        if conversation is not None:
            return stores.of(conversation), conversation
        return stores.memory if temporary else stores.disk, None

    # --- sending ---

    def submit(self, text: str, waited: bool = False) -> None:
        """Send what was typed, or what is edited; where it has `waited`, all news has come in before."""
        room = self._room
        if self._sending or not room.area.composer.text.startswith(text):
            return  # Enter was pressed twice: this text is on its way already
        if room.conductor.live(room.current) is not None:
            room.say("An answer is being written. Your text stays here; send it then, or press Esc to stop.")
            return
        if not waited and room.branch and room.branch[-1].status == "writing":
            # That answer has ended and its end is on the way here: what is sent follows it as it is then.
            room.screen.call_later(self.submit, text, True)
            return
        edited = self._editing
        if edited is not None and edited.role == "assistant":
            self._answer_edited(edited, text)
            return
        if self._page in self._reading:
            room.say("A file is still being read. Your text stays here; send it when the file is there.")
            return
        model = self._models.chosen()
        if model is None:
            return
        # Aside: the disk may take its time. Where it belongs is settled now.
        self._sending = True
        seen = tuple(room.branch)
        aside(room.app, partial(self._send, text, model, edited, self._page, seen, room.temporary, room.beginning))

    async def _send(
        self,
        text: str,
        model: "InstalledModel",
        edited: Message | None,
        page: _Page,
        seen: Sequence[Message],
        temporary: bool,
        beginning: Preset,
    ) -> None:
        room = self._room
        asked_in, attached = page[1], tuple(self._attached)
        try:
            if edited is not None:
                asked = await room.conductor.ask_instead(edited, text, model, attached)
            else:
                asked = await room.conductor.send(
                    asked_in,
                    text,
                    model,
                    attached,
                    seen=seen,
                    temporary=temporary,
                    settings=beginning.settings,
                    system_prompt=beginning.system_prompt,
                )
        except QuietlyError as error:
            room.refused(error)
            return
        finally:
            self._sending = False
        if asked_in is None:
            room.end_tuning(temporary)
        # Only now is the text safe elsewhere.
        if self._page != page:
            if edited is None:
                self._forget_draft(page, text, attached)
        elif edited is not None:
            self.end_editing()
            room.reread()
        else:
            self._clear(text, attached)
            if asked_in is None:
                room.guarded(lambda: page[0].keep_draft(None, Draft()))
                room.read(asked.question.conversation)
                room.temporary = False
                room.show_page()
            else:
                room.append(asked.question, asked.answer)
            room.transcript.set_current(None)  # from here on the latest is meant, not what was marked before
            self.keep()
        composer = room.area.composer
        if text.strip():
            composer.prompts = [text, *(old for old in composer.prompts if old != text)]
        room.tell_conversations()
        room.tell()

    def _forget_draft(self, page: _Page, text: str, attached: Sequence[Attachment]) -> None:
        """What was sent from a page that has been left meanwhile is no draft of it any more."""
        store, conversation = page

        def forget() -> None:
            draft = store.draft(conversation)
            rest = tuple(one for one in draft.attachments if one not in attached)
            store.keep_draft(conversation, Draft(draft.text.removeprefix(text), rest))

        self._room.guarded(forget)

    # --- editing what was said ---

    def edit(self, message: Message) -> None:
        """Take a message of the conversation in view into the composer."""
        if self._editing is None:
            self._set_aside = self.draft
        self._editing = message
        self._room.area.banner.show(_BANNERS[message.role].format(send=self._room.area.composer.send))
        self.load(Draft(message.content, message.attachments))
        self.focus()

    def end_editing(self) -> bool:
        """Leave what is edited as it was, and put back what stood here before. False where nothing is edited."""
        if self._editing is None:
            return False
        self._editing = None
        self._room.area.banner.show("")
        self.load(self._set_aside)
        self._set_aside = Draft()
        return True

    def _answer_edited(self, message: Message, text: str) -> None:
        room = self._room
        assert message.parent is not None  # an answer follows its question
        try:
            kept = room.stores.of(message.conversation).add_answer(
                message.conversation, message.parent, text, message.model, reasoning=message.reasoning
            )
        except QuietlyError as error:
            room.refused(error)
            return
        self.end_editing()
        room.reread(kept.id)
        room.say("Kept beside the old answer. Ask on, or let the model go on from it with /continue.")

    def quote(self, text: str) -> None:
        """Put `text` into the composer as a quotation."""
        quoted = "\n".join(f"> {line}" if line else ">" for line in text.strip().split("\n"))
        composer = self._room.area.composer
        before = composer.text
        gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
        composer.move_cursor(composer.document.end)
        composer.insert(f"{gap}{quoted}\n\n")
        self.focus()

    def _edit_outside(self) -> None:
        if self._page[0] is self._room.stores.disk:
            self._room.area.composer.action_edit_outside()
        else:
            self._room.decline("An editor works on a file, and nothing of a temporary chat is ever written to one.")

    # --- attachments ---

    def _ask_for_file(self, typed: str) -> None:
        from app.tui.screens.picking import PickFile

        if typed:
            self.attach([expanded(typed)])
            return

        def picked(path: Path | None) -> None:
            if path is not None:
                self.attach([path])

        self._room.app.push_screen(PickFile(Path.home()), picked)

    def attach(self, paths: Sequence[Path]) -> None:
        """Read files, in a process of their own, and let them go along with what is sent."""
        page = self._page
        store, conversation = page
        self._reading.append(page)

        async def read() -> None:
            from app.attaching import read

            try:
                for path in paths:
                    self._room.area.tally.show(f"Reading {one_line(path.name, 40)} …")
                    try:
                        attachment = await read(path)
                        if self._page == page:
                            self.add(attachment)
                        else:  # the person has gone on to another conversation meanwhile
                            draft = store.draft(conversation)
                            store.keep_draft(conversation, Draft(draft.text, (*draft.attachments, attachment)))
                    except QuietlyError as error:
                        self._room.refused(error)
                    self.count_soon()
            finally:
                self._reading.remove(page)

        aside(self._room.app, read)

    def add(self, attachment: Attachment) -> None:
        """Let it go along with what is sent."""
        self._attached.append(attachment)
        self._show_attachments()
        self.changed()

    def remove(self, place: int) -> None:
        """Take an attachment away."""
        if place < len(self._attached):
            del self._attached[place]
            self._show_attachments()
            self.changed()

    def _show_attachments(self) -> None:
        self._room.area.composer.goes_empty = bool(self._attached)
        self._room.area.attachments.show(
            [AttachmentRow(place, one.name, self._detail(one)) for place, one in enumerate(self._attached)]
        )

    def _detail(self, attachment: Attachment) -> str:
        count = self._tokens.get(attachment)
        return words.size(len(attachment.text.encode())) if count is None else words.tokens(count)

    def pasted(self, text: str) -> None:
        """A paste that is too long to be a message: offered as an attachment."""
        from app.tui.screens.menu import Menu, MenuRow

        name = f"Pasted text {sum(one.name.startswith('Pasted text') for one in self._attached) + 1}"

        def chosen(way: str | None) -> None:
            if way == "attach":
                self.add(Attachment(name, text))
            elif way == "insert":
                self._room.area.composer.insert(text)
            self.focus()

        self._room.app.push_screen(
            Menu(
                f"The paste has {len(text):,} characters.",
                [
                    MenuRow("attach", "Attach it as a document", "a"),
                    MenuRow("insert", "Put it into the message", "i"),
                ],
            ),
            chosen,
        )

    # --- tokens ---

    def _count_aside(self) -> None:
        self._count_due = None
        in_place(self._room.app, "count", self._count)

    async def _count(self) -> None:
        room, model = self._room, self._room.shelf.chosen
        text, attached = room.area.composer.text, tuple(self._attached)
        counted = None
        commanding = command(text) is not None or bool(room.area.composer.completing())
        if model is not None and not commanding and (text.strip() or attached):
            try:
                begins = room.beginning
                counted = await room.conductor.count(
                    model,
                    room.current,
                    tuple(room.branch),
                    text,
                    attached,
                    settings=begins.settings,
                    system_prompt=begins.system_prompt,
                )
                await self._count_attachments(model)
            except QuietlyError as error:
                full = getattr(error, "kind", "") == "context"
                room.area.tally.show(str(error) if full else "", full)
                return
        loaded = room.conductor.loaded(model.path) if model is not None else None
        room.area.tally.show(*_tally(counted, loaded.trained if loaded is not None else 0))

    async def _count_attachments(self, model: "InstalledModel") -> None:
        for one in self._attached:
            if one not in self._tokens and (alone := await self._room.conductor.count_attachment(model, one)):
                self._tokens[one] = alone
                self._show_attachments()


def _tally(counted: "Counted | None", trained: int) -> tuple[str, bool]:
    """What to say of the prompt as it would be now, and whether it is a warning; the model was `trained` on so many
    tokens."""
    if counted is None:
        return "", False
    match counted.dropped_messages:
        case 0:
            pass
        case 1:
            return "The context is full: the oldest message will not be read.", True
        case dropped:
            return f"The context is full: the {dropped:,} oldest messages will not be read.", True
    from model.config import UNBOUNDED

    there = f"of {counted.context:,}" if counted.context < UNBOUNDED else f"· {words.no_limit(trained)}"
    return f"{words.tokens(counted.tokens)} {there}", False
