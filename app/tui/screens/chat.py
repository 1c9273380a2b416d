"""The window: models and conversations on the left, the transcript, the composer, the status line.

It turns what widgets post into calls of the store, the shelf and the conductor, and what comes back into rows
and words. The flow of a turn is the conductor's; what a key is called is the table's.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message as Post
from textual.timer import Timer
from textual.widgets import Static

from app.chat.store import Conversation, Message, Store
from app.chat.text import one_line
from app.errors import QuietlyError
from app.shelf import Shelf
from app.tui import telling, words
from app.tui.actions import TYPED, bindings
from app.tui.screens.guarded import GuardedScreen
from app.tui.turns import AnswerEnded, Conductor, ModelMoved, Trouble
from app.tui.widgets.composer import Composer
from app.tui.widgets.sidebar import Sidebar
from app.tui.widgets.status import StatusLine

if TYPE_CHECKING:
    from app.library.local import InstalledModel
    from app.tui.library import Library
    from app.tui.widgets.transcript import Transcript

PAINTS = 12
"""Times a second that a growing answer is painted."""
NARROW = 80
"""Columns below which the sidebar covers the page instead of standing beside it."""
SHORT = 20
"""Rows below which the title gives way to the conversation."""


class ChatScreen(GuardedScreen[None]):
    """Everything about talking: one conversation in view, others may be answering meanwhile."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]
    AUTO_FOCUS = "#composer"

    class Shown(Post):
        """The first frame is on the terminal."""

    def __init__(
        self, store: Store, shelf: Shelf, conductor: Conductor, library: "Library", today: Callable[[], date]
    ) -> None:
        super().__init__()
        self._store, self._shelf, self._conductor, self._library = store, shelf, conductor, library
        self._today = today
        self._current: int | None = None
        self._drafts: dict[int | None, str] = {}
        self._painted: tuple[int, int] | None = None
        self._last: Message | None = None  # the last answer in view that was measured
        self._looked = False  # whether the models have been looked for
        self._told = 0.0
        self._awake = False
        self._sending = False

    # --- what is on it ---

    def compose(self) -> ComposeResult:
        with Horizontal(id="room"):
            yield Sidebar(telling.conversation_rows(self._store, self._conductor, self._today()), None, id="sidebar")
            with Vertical(id="page"):
                yield Vertical(id="body")
                yield Composer(id="composer")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self._painter: Timer = self.set_interval(1 / PAINTS, self._paint, pause=True)
        # Everything else waits until the first frame is on the terminal.
        self.call_after_refresh(self._wake)

    async def _wake(self) -> None:
        from app.tui.widgets.transcript import Transcript

        self._transcript = Transcript(id="transcript")
        self._transcript.display = False
        await self.query_one("#body").mount(
            Static("", id="title", markup=False), Static("", id="welcome", markup=False), self._transcript
        )
        self._awake = True
        self.post_message(self.Shown())
        latest = self._store.latest()
        self._open(latest.id if latest is not None else None)
        self.look_for_models()

    # --- telling the widgets ---

    def _tell_conversations(self) -> None:
        self.query_one(Sidebar).show_conversations(
            telling.conversation_rows(self._store, self._conductor, self._today()), self._current
        )

    def _tell_models(self) -> None:
        self.query_one(Sidebar).show_models(telling.model_rows(self._shelf, self._conductor))

    def _tell(self) -> None:
        """Say in the status line how things stand."""
        self.query_one(StatusLine).facts = telling.status(
            self._shelf.chosen, self._conductor, self._current, self._last, self._looked
        )

    def _paint(self) -> None:
        live = self._conductor.live(self._current)
        if live is None:
            if not self._conductor.lives:
                self._painter.pause()
            return
        if self._painted != (live.message, live.version):
            self._painted = (live.message, live.version)
            if live.answer or live.reasoning:
                self._transcript.stream(live.message, live.answer, live.reasoning)
            self._tell()

    # --- conversations ---

    def _open(self, conversation: int | None) -> None:
        """Bring a conversation into view; None is an empty page that becomes one with its first question."""
        composer, transcript = self.query_one(Composer), self._transcript
        # Read first: a conversation that cannot be read leaves the page as it is.
        record = self._store.conversation(conversation) if conversation is not None else None
        branch = self._store.branch(conversation) if conversation is not None else []
        if conversation != self._current:
            self._drafts[self._current] = composer.text
            composer.load_text(self._drafts.pop(conversation, ""))
            composer.move_cursor(composer.document.end)
        self._current = conversation
        self._last = telling.measured(branch)
        transcript.show([telling.entry_of(message) for message in branch])
        self._show_page(record, bool(branch))
        live = self._conductor.live(conversation)
        if live is not None:
            transcript.stream(live.message, live.answer, live.reasoning)
            self._painter.resume()
        self._tell_conversations()
        self._tell()

    def _show_page(self, record: Conversation | None, filled: bool) -> None:
        title = one_line(record.title, 200) if record is not None else ""
        self.query_one("#title", Static).update(Content(title or "New conversation"))
        self._transcript.display = filled
        welcome = self.query_one("#welcome", Static)
        welcome.display = not filled
        if not filled:
            welcome.update(telling.welcome(self._shelf.chosen, self._looked))

    def on_composer_submitted(self, event: Composer.Submitted) -> None:
        if not self._awake:
            # A key came before the page did.
            self.call_after_refresh(self.post_message, Composer.Submitted(event.text))
            return
        if self._sending or not self.query_one(Composer).text.startswith(event.text):
            return  # Enter was pressed twice: this text is on its way already
        if (command := TYPED.get(event.text.strip())) is not None:
            self.query_one(Composer).take(event.text)
            self.app.run_worker(self.run_action(command.method), exit_on_error=False)
            return
        if self._conductor.live(self._current) is not None:
            self._say("An answer is being written. Your text stays here; send it then, or press Esc to stop.")
            return
        model = self._shelf.chosen
        if model is None:
            if self._looked:
                self.action_add_model()
            else:
                self._say("Looking for models; one moment.")
            return
        # Aside: the disk may take its time.
        self._sending = True
        self.app.run_worker(self._send(event.text, model), exit_on_error=False)

    async def _send(self, text: str, model: "InstalledModel") -> None:
        asked_in = self._current
        try:
            question, answer = await self._conductor.send(asked_in, text, model)
        except QuietlyError as error:
            self._say(str(error), wrong=True)
            return
        finally:
            self._sending = False
        # Only now is the text safe elsewhere.
        if self._current == asked_in:
            self.query_one(Composer).take(text)
            self._show_question(question, answer)
        else:
            self._drafts[asked_in] = self._drafts.get(asked_in, "").removeprefix(text)
        self._tell_conversations()
        self._tell()

    def _show_question(self, question: Message, answer: Message) -> None:
        transcript = self._transcript
        if self._current is None:
            self._drafts.pop(None, None)
            transcript.show([])
            self._current = question.conversation
        self._show_page(self._store.conversation(question.conversation), True)
        transcript.add(telling.entry_of(question))
        transcript.add(telling.entry_of(answer))
        self._painted = None
        self._painter.resume()

    def on_answer_ended(self, event: AnswerEnded) -> None:
        live = event.live
        if live.conversation == self._current:
            self._transcript.finish(telling.ended_entry(live, event.status, event.note))
            if event.message is not None and event.message.prompt_tokens:
                self._last = event.message
        elif event.status == "failed":
            self._say(event.note, wrong=True)
        self._tell_conversations()
        self._tell_models()
        self._tell()

    def on_transcript_copy_requested(self, event: "Transcript.CopyRequested") -> None:
        self.app.copy_to_clipboard(event.text)
        self._say("Copied.")

    def on_trouble(self, event: Trouble) -> None:
        self._say(event.sentence, wrong=True)

    def on_sidebar_conversation_chosen(self, event: Sidebar.ConversationChosen) -> None:
        self.open_conversation(event.key)

    def open_conversation(self, conversation: int | None) -> None:
        """Bring a conversation into view and put the cursor into the composer."""
        if conversation != self._current:
            try:
                self._open(conversation)
            except QuietlyError as error:
                self._say(str(error), wrong=True)
                self._tell_conversations()
        self._leave_sidebar()

    def action_new_conversation(self) -> None:
        self.open_conversation(None)

    def action_go_to_conversation(self) -> None:
        from app.tui.palette import Choice, choose

        rows = telling.conversation_rows(self._store, self._conductor, self._today())
        choose(
            self.app,
            "Go to conversation…",
            [Choice(row.title, row.day, partial(self.open_conversation, row.key)) for row in rows],
        )

    def action_stop(self) -> None:
        if self._current is not None and self._conductor.stop(self._current):
            self._tell()
        elif self.has_class("-open"):
            self._leave_sidebar()
        else:
            self.query_one(Composer).focus()

    def stop_any(self) -> bool:
        """Stop the answer in view. False where none is being written."""
        stopped = self._current is not None and self._conductor.stop(self._current)
        if stopped:
            self._tell()
        return stopped

    def action_export(self) -> None:
        if self._current is None:
            self._say("There is nothing to export yet.")
            return
        from app.tui.exporting import export

        try:
            path = export(self._store, self._current)
        except QuietlyError as error:
            self._say(str(error), wrong=True)
        else:
            self._say(f"Exported to {path}", title="Markdown")

    def action_rename(self) -> None:
        if self._current is not None:
            self._rename(self._current)

    def on_sidebar_rename_asked(self, event: Sidebar.RenameAsked) -> None:
        self._rename(event.key)

    def _rename(self, conversation: int) -> None:
        from app.tui.screens.asking import AskLine

        def renamed(title: str | None) -> None:
            if title is None or not title.strip():
                return
            self._guarded(lambda: self._store.rename(conversation, title.strip()))
            self._tell_conversations()
            if conversation == self._current:
                self.query_one("#title", Static).update(Content(one_line(title, 200)))

        old = one_line(self._store.conversation(conversation).title, 200)
        self.app.push_screen(AskLine("Rename the conversation", old), renamed)

    def action_delete(self) -> None:
        if self._current is not None:
            self._delete(self._current)

    def on_sidebar_delete_asked(self, event: Sidebar.DeleteAsked) -> None:
        self._delete(event.key)

    def _delete(self, conversation: int) -> None:
        from app.tui.screens.asking import Confirm

        def answered(yes: bool | None) -> None:
            if not yes:
                return
            self._conductor.forget(conversation)
            self._guarded(lambda: self._store.delete(conversation))
            self._drafts.pop(conversation, None)
            if conversation == self._current:
                # What is being typed was not part of it.
                self._drafts[None] = self.query_one(Composer).text or self._drafts.get(None, "")
                self._open(None)
                self._drafts.pop(conversation, None)
            self._tell_conversations()

        title = one_line(self._store.conversation(conversation).title or telling.UNTITLED, 50)
        self.app.push_screen(Confirm(f"Delete “{title}”?", "Delete", "Every message in it goes for good."), answered)

    # --- models ---

    def look_for_models(self, then: Callable[[], None] | None = None) -> None:
        """Look for installed models aside, and begin loading the one that answers next."""

        async def look() -> None:
            models = await asyncio.to_thread(self._library.models, self._shelf.folders)
            self._shelf.fill(models)
            self._looked = True
            self._tell_models()
            self._show_welcome()
            if then is not None:
                then()
            if self._shelf.chosen is not None:
                self._conductor.warm(self._shelf.chosen.path)
            else:
                self.action_add_model()
            self._tell()

        self.app.run_worker(look(), group="models", exclusive=True, exit_on_error=False)

    def _show_welcome(self) -> None:
        welcome = self.query_one("#welcome", Static)
        if welcome.display:
            welcome.update(telling.welcome(self._shelf.chosen, self._looked))

    def on_sidebar_model_chosen(self, event: Sidebar.ModelChosen) -> None:
        self.choose_model(event.key)

    def choose_model(self, key: str) -> None:
        """Let the model at the path `key` answer next, and begin loading it."""
        model = self._shelf.find(key)
        if model is None:
            return
        if model.problem is not None:
            self._say(model.problem, wrong=True)
            return
        self._guarded(lambda: self._shelf.choose(model))
        self._conductor.warm(model.path)
        self._tell_models()
        self._show_welcome()
        self._tell()
        self._leave_sidebar()

    def on_model_moved(self, event: ModelMoved) -> None:
        now = time.monotonic()
        moving = self._conductor.loading(event.path) is not None
        # Loading reports every tensor; an eye needs fewer.
        if moving and now - self._told < 1 / PAINTS:
            return
        self._told = now
        if event.sentence:
            self._say(event.sentence, wrong=True)
        self._tell_models()
        self._tell()

    def action_switch_model(self) -> None:
        from app.tui.palette import Choice, choose

        choices = [
            Choice(
                model.name,
                model.problem or words.size(model.size),
                partial(self.choose_model, str(model.path)),
            )
            for model in self._shelf.models
        ]
        choose(
            self.app,
            "Switch model…",
            [*choices, Choice("Add a model…", "Download one, or name a folder", self.action_add_model)],
        )

    def on_sidebar_add_model(self) -> None:
        self.action_add_model()

    def action_add_model(self) -> None:
        from app.tui.screens.begin import BeginScreen

        def begun(key: str | None) -> None:
            if key is not None:
                self.look_for_models(lambda: self.choose_model(key))

        if not isinstance(self.app.screen, BeginScreen):
            first = not any(model.problem is None for model in self._shelf.models)
            self.app.push_screen(BeginScreen(self._library, self._shelf, first=first), begun)

    # --- the window itself ---

    def action_toggle_sidebar(self) -> None:
        # Wide terminals show it unless it was closed; narrow ones hide it unless it was opened.
        narrow = self.has_class("-narrow")
        self.toggle_class("-open" if narrow else "-closed")
        if narrow and self.has_class("-open"):
            # After the style has been applied: what is not displayed cannot take the focus.
            self.call_after_refresh(self.query_one(Sidebar).focus_conversations)
        elif narrow or self.has_class("-closed"):
            self.query_one(Composer).focus()

    def _leave_sidebar(self) -> None:
        self.remove_class("-open")
        self.query_one(Composer).focus()

    def action_help(self) -> None:
        from app.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    def action_theme(self) -> None:
        self.app.action_change_theme()

    def action_command_palette(self) -> None:
        self.app.action_command_palette()

    async def action_quit(self) -> None:
        await self.app.action_quit()

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do what the store may refuse, and say so where it does."""
        try:
            act()
        except QuietlyError as error:
            self._say(str(error), wrong=True)

    def _say(self, sentence: str, title: str = "", wrong: bool = False) -> None:
        self.app.notify(
            sentence,
            title=title,
            severity="error" if wrong else "information",
            timeout=10 if wrong else 6,
            markup=False,
        )
