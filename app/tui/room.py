"""The room: what everything at the window shares. Who keeps what, what is in view, and how to say something.

The desks act on it, the chat screen paints it. It turns stored messages into what the transcript shows, and knows no
key and no command.
"""

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from textual.widgets import Static

from app.chat.failures import ChangedError, GoneError
from app.chat.store import Conversation, GenerationSettings, Message, Preset
from app.chat.text import one_line
from app.errors import QuietlyError
from app.tui import telling
from app.tui.widgets.composer_area import ComposerArea
from app.tui.widgets.sidebar import ConversationRow, Sidebar
from app.tui.widgets.status import StatusLine

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen

    from app.conducting.stores import Stores
    from app.conducting.turns import Conductor
    from app.settings import Settings
    from app.shelf import Shelf
    from app.tui.library import Library
    from app.tui.widgets.message import Entry
    from app.tui.widgets.transcript import Transcript


class Room:
    """One conversation in view; others may be answering meanwhile."""

    def __init__(
        self,
        screen: "Screen[None]",
        stores: "Stores",
        shelf: "Shelf",
        conductor: "Callable[[], Conductor]",
        library: "Library",
        today: Callable[[], date],
        settings: "Callable[[], Settings]",
    ) -> None:
        self.screen = screen
        self.stores, self.shelf, self.library = stores, shelf, library
        self._conductor, self._settings = conductor, settings
        self.awake = False
        """Whether the first frame is on the terminal; before that nothing is being written."""
        self.today = today
        self.current: int | None = None
        """The conversation in view; None is an empty page that becomes one with its first question."""
        self.temporary = False
        """Whether the empty page begins a conversation that is kept in memory alone."""
        self._tunings: dict[bool, Preset] = {}
        """What was chosen on the empty page, the temporary one or the other, for the conversation that it becomes."""
        self.branch: list[Message] = []
        """Its messages in view, from the opening on; another window may have added others, or branched off."""
        self.siblings: dict[int, tuple[int, ...]] = {}
        self._titles: dict[int, str] = {}
        """The titles that have been shown, also of conversations that are gone."""
        self.looked = False
        """Whether the models have been looked for."""
        self.hub = ""
        """What the sidebar says of the Hub, where it did not answer when it was asked last; else empty."""
        self.declined = 0
        """How often something was not done, and why was said."""
        self.transcript: Transcript
        """There from the first frame on."""

    @property
    def app(self) -> "App[object]":
        return self.screen.app

    @property
    def area(self) -> "ComposerArea":
        return self.screen.query_one(ComposerArea)

    @property
    def conductor(self) -> "Conductor":
        return self._conductor()

    @property
    def settings(self) -> "Settings":
        """What the person has set, as it is now."""
        return self._settings()

    # --- what is in view ---

    def read(self, conversation: int | None) -> None:
        """Take a conversation into view. QuietlyError where it cannot be read: then all stays as it was."""
        if conversation is None:
            branch, siblings = [], {}
        else:
            store = self.stores.of(conversation)
            store.conversation(conversation)  # one that is gone is no empty page
            branch, siblings = store.branch(conversation), store.siblings(conversation)
        self.current, self.branch, self.siblings = conversation, branch, siblings
        self.transcript.show([self.entry(message) for message in branch])
        for live in self.conductor.lives_in(conversation):
            self.transcript.stream(live.message, live.written.answer, live.written.reasoning)

    def reread(self, at: int | None = None) -> None:
        """Look again at what is in view, after its tree has changed; `at` is the message to stay with."""
        self.read(self.current)
        self.show_page()
        if at is not None and any(message.id == at for message in self.branch):
            self.transcript.set_current(at)
        self.tell_conversations()
        self.tell()

    def append(self, *messages: Message) -> None:
        """Show messages of the conversation in view that were just added at its end."""
        self.siblings = self.stores.of(messages[0].conversation).siblings(messages[0].conversation)
        self.branch += messages
        for message in messages:
            self.transcript.add(self.entry(message))

    def replace(self, message: Message) -> None:
        """A message in view has other words now."""
        self.branch = [message if known.id == message.id else known for known in self.branch]

    def entry(self, message: Message) -> "Entry":
        """A message as the transcript shows it."""
        return telling.entry_of(message, self.siblings.get(message.id, ()))

    def place(self, message: int) -> tuple[int, int]:
        """Which of how many siblings a message is."""
        return telling.place(message, self.siblings.get(message, ()))

    def record(self) -> Conversation | None:
        """The conversation in view, as it is stored."""
        return self.stores.of(self.current).conversation(self.current) if self.current is not None else None

    def message(self, key: int) -> Message | None:
        """The message in view with this id."""
        return next((message for message in self.branch if message.id == key), None)

    # --- how it is answered ---

    @property
    def tuning(self) -> Preset:
        """What is chosen for the conversation in view, or for the one that the empty page becomes."""
        record = self.record()
        if record is not None:
            return Preset("", None, record.system_prompt, record.settings)
        return self.beginning

    @property
    def beginning(self) -> Preset:
        """What the conversation begins with that the empty page becomes."""
        return self._tunings.get(self.temporary) or Preset("", system_prompt=self.settings.system_prompt)

    @property
    def _is_tuned(self) -> bool:
        """Whether it is told or answered otherwise than a new conversation would be."""
        tuning = self.tuning
        return tuning.settings != GenerationSettings() or tuning.system_prompt != self.settings.system_prompt

    def tune(self, tuning: Preset) -> None:
        """Let what is in view be answered as `tuning` says, from the next answer on. QuietlyError where that cannot be
        stored."""
        if self.current is None:
            self._tunings[self.temporary] = tuning
            return
        store = self.stores.of(self.current)
        store.instruct(self.current, tuning.system_prompt)
        store.tune(self.current, tuning.settings)

    def end_tuning(self, temporary: bool) -> None:
        """The empty page has become a conversation: the next one begins without what was chosen for it."""
        self._tunings.pop(temporary, None)

    # --- saying how things stand ---

    def show_page(self) -> None:
        """Title, transcript or welcome, by what is in view."""
        record = self.record()
        filled = bool(self.branch)
        temporary = self.temporary if record is None else self.stores.is_temporary(record.id)
        self.screen.query_one("#title", Static).update(telling.title(record, temporary, self._is_tuned))
        if not filled and self.transcript.has_focus:
            self.area.composer.focus()  # else nobody would have it once the transcript is gone
        self.transcript.display = filled
        self.screen.query_one("#welcome", Static).display = not filled
        self.show_welcome()

    def show_welcome(self) -> None:
        welcome = self.screen.query_one("#welcome", Static)
        if welcome.display:
            welcome.update(telling.welcome(self.shelf, self.looked, self.temporary))

    def tell_conversations(self) -> None:
        self.screen.query_one(Sidebar).show_conversations(self.rows(), self.current)

    def tell_models(self) -> None:
        rows = telling.model_rows(self.shelf, self.conductor, self.library.coming)
        self.screen.query_one(Sidebar).show_models(rows, self.hub)

    def tell(self) -> None:
        """Say in the status line how things stand."""
        reading = self.transcript.has_focus
        self.screen.query_one(StatusLine).facts = telling.status(
            self.shelf.chosen, self.conductor, self.current, telling.measured(self.branch), self.looked, reading
        )

    def rows(self) -> list[ConversationRow]:
        """The conversations as lists show them."""
        rows = telling.conversation_rows(self.stores, self._is_written, self.today())
        self._titles.update((row.key, row.title) for row in rows)
        return rows

    def _is_written(self, conversation: int) -> bool:
        return self.awake and self.conductor.live(conversation) is not None

    def say(self, sentence: str, title: str = "", wrong: bool = False) -> None:
        """Say something in passing."""
        self.app.notify(
            sentence,
            title=one_line(title, 60),
            severity="error" if wrong else "information",
            timeout=10 if wrong else 6,
            markup=False,
        )

    def decline(self, sentence: str, wrong: bool = False) -> None:
        """Say why something is not done: whoever asked for it can tell, and keeps what was typed for it."""
        self.declined += 1
        self.say(sentence, wrong=wrong)

    def guarded(self, act: Callable[[], object]) -> bool:
        """Do what the store may refuse, and say so where it does; whether it was done."""
        try:
            act()
        except QuietlyError as error:
            self.refused(error)
            return False
        return True

    def refused(self, error: QuietlyError) -> None:
        """Say what could not be done; where another window is why, what is in view follows it first."""
        sentence = str(error)
        match error:
            case ChangedError():
                self.guarded(self.reread)
            case GoneError(conversation=gone):
                self.guarded(self.tell_conversations)
                if gone in self._titles:
                    sentence = error.sentence(f"“{one_line(self._titles[gone], 40)}”")
        self.decline(sentence, wrong=True)

    def copy(self, text: str, what: str) -> None:
        """Give `text` to the clipboard, and say so."""
        self.app.copy_to_clipboard(text)
        self.say(f"Copied {what}.")
