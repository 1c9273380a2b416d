"""The window: models and conversations on the left, the transcript, the composer, the status line.

It puts the widgets on the screen, paints what is being written, and passes what they post to the desk it is about.
What a person can do is the table's (`app.tui.actions`), how it is done the desks'.
"""

import asyncio
import contextlib
import inspect
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message as Post
from textual.timer import Timer
from textual.widgets import Input, Static, TextArea

from app.errors import QuietlyError
from app.shelf import Shelf
from app.tui import telling
from app.tui.actions import ACTIONS, BY_ID, bindings, command, shown
from app.tui.following import aside, in_place
from app.tui.room import Room
from app.tui.screens.guarded import GuardedScreen
from app.tui.widgets.composer import Command, Composer
from app.tui.widgets.composer_area import ComposerArea
from app.tui.widgets.sidebar import Sidebar
from app.tui.widgets.status import StatusLine

if TYPE_CHECKING:
    from app.conducting.lives import AnswerEnded, ModelMoved, News
    from app.conducting.stores import Stores
    from app.conducting.turns import Conductor
    from app.settings import Settings
    from app.tui.desks import Desks
    from app.tui.desks.conversations import Act
    from app.tui.library import Library
    from app.tui.widgets.attachments import AttachmentBar
    from app.tui.widgets.find_bar import FindBar
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

    class Heard(Post):
        """Something happened to an answer, a conversation or a model."""

        def __init__(self, news: "News") -> None:
            super().__init__()
            self.news = news

    def __init__(
        self,
        stores: "Stores",
        shelf: Shelf,
        conductor: "Callable[[], Conductor]",
        library: "Library",
        settings: "Callable[[], Settings]",
        today: Callable[[], date],
        report: Callable[[BaseException], str],
        own_keys: Callable[[], Mapping[str, str]],
    ) -> None:
        """`settings` are those in force; `report` writes down an error nobody foresaw, and says where; `own_keys` are
        those that stand on other keys than their own."""
        super().__init__()
        self._report, self._own_keys = report, own_keys
        self.room = Room(self, stores, shelf, conductor, library, today, settings)
        self.desks: Desks
        """There once the first frame is on the terminal, as everything it calls for is."""
        self.acts: dict[str, Act] = {
            "answer.stop": lambda _: self._stop(),
            "page.read": lambda _: self._read_or_write(),
            "window.sidebar": lambda _: self._toggle_sidebar(),
            "window.settings": lambda _: self.app.run_action("settings"),
            "window.connections": lambda _: self.app.run_action("connections"),
            "window.erase": lambda _: self.app.run_action("erase"),
            "window.theme": lambda _: self.app.action_change_theme(),
            "window.palette": lambda _: self.app.run_action("command_palette"),
            "window.help": lambda _: self._help(),
            "window.quit": lambda _: self.app.action_quit(),
        }
        self._painted: dict[int, int] = {}
        self._told = 0.0
        self._awake = False

    # --- what is on it ---

    def compose(self) -> ComposeResult:
        with Horizontal(id="room"):
            yield Sidebar(self.room.rows(), None, id="sidebar")
            with Vertical(id="page"):
                yield Vertical(id="body")
                yield ComposerArea(id="area")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self.room.area.composer.commands = [
            Command(action.typed, action.says, action.argument) for action in ACTIONS if action.typed
        ]
        self._painter: Timer = self.set_interval(1 / PAINTS, self._paint, pause=True)
        # Everything else waits until the first frame is on the terminal.
        self.use_settings()
        self.watch(self.app, "app_focus", self._returned, init=False)
        self.call_after_refresh(self._wake)

    def use_settings(self) -> None:
        """Let what is on the screen follow the settings and keys in force."""
        settings, keys, composer = self.room.settings, self._own_keys(), self.room.area.composer
        composer.large_paste = settings.large_paste
        composer.hint(shown(keys.get("composer.send", "enter")), shown(keys.get("composer.new_line", "ctrl+j")))
        if self._awake:
            self.room.transcript.show_reasoning(settings.reasoning == "open")

    async def _wake(self) -> None:
        from app.tui.desks import Desks
        from app.tui.widgets.find_bar import FindBar
        from app.tui.widgets.transcript import Transcript

        room = self.room
        room.transcript = Transcript(id="transcript")
        room.transcript.display = False
        room.transcript.show_reasoning(room.settings.reasoning == "open")
        await self.query_one("#body").mount(
            Static("", id="title", markup=False),
            Static("", id="welcome", markup=False),
            room.transcript,
            FindBar(id="find"),
        )
        if not self.is_attached:
            return  # asked to end meanwhile
        self.desks = Desks(room, self._write)
        self.acts |= self.desks.acts
        self._awake = room.awake = True
        self.post_message(self.Shown())

        def begin() -> None:
            self.desks.conversations.bring_first(self._first())

        room.guarded(begin)
        self.desks.models.look()

    def _first(self) -> int | None:
        """The conversation that the window opens with: the one in which something was said last, unless new ones are
        temporary or it is about to be deleted for its age."""
        settings = self.room.settings
        latest = None if settings.temporary else self.room.stores.disk.latest()
        if latest is None or (settings.keep_days and latest.updated < time.time() - settings.keep_days * 86400):
            return None
        return latest.id

    def _returned(self, focused: bool) -> None:
        """The window has the focus again, or has it no longer."""
        if focused and self._awake:
            in_place(self.app, "returned", self._follow_others)

    async def _follow_others(self) -> None:
        """Other windows may have made, named or deleted conversations meanwhile."""
        if await asyncio.to_thread(self.room.stores.disk.changed_elsewhere):
            self.room.tell_conversations()

    def expired(self, count: int, days: int) -> None:
        """So many conversations were deleted because nothing was said in them for so many days."""
        if count:
            were = "One conversation was" if count == 1 else f"{count:,} conversations were"
            self.room.say(f"{were} deleted: nothing was said there for {days:,} {'day' if days == 1 else 'days'}.")
            self.room.tell_conversations()

    # --- painting what is being written ---

    def on_chat_screen_heard(self, event: Heard) -> None:
        from app.conducting.lives import AnswerBegun, AnswerEnded, Entitled, FirstWords, ModelMoved, Trouble

        match event.news:
            case AnswerBegun():
                self._painter.resume()  # until nothing is being written any more
            case FirstWords():
                self._paint()  # not with the painter's next stroke: they have been waited for
            case AnswerEnded() as ended:
                self._ended(ended)
            case Entitled(conversation):
                self.desks.conversations.named(conversation)
            case Trouble(sentence):
                self.room.say(sentence, wrong=True)
            case ModelMoved() as moved:
                self._moved(moved)

    def _paint(self) -> None:
        room = self.room
        if not room.conductor.lives:
            self._painter.pause()
            self._painted.clear()
            return
        for live in room.conductor.lives_in(room.current):
            if self._painted.get(live.message) == live.version:
                continue
            self._painted[live.message] = live.version
            written = live.written
            if written.answer or written.reasoning:
                room.transcript.stream(live.message, written.answer, written.reasoning)
            self.desks.comparing.stream(live)
            room.tell()

    def _ended(self, ended: "AnswerEnded") -> None:
        live, message, room = ended.live, ended.message, self.room
        if live.conversation == room.current:
            if message is not None:
                room.replace(message)
                entry = room.entry(message)
                if ended.remark:
                    room.say(ended.remark)
            else:
                entry = telling.ended_entry(live, ended.status, ended.note, room.place(live.message))
            room.transcript.finish(entry)
            self.desks.comparing.finish(entry, message)
        elif ended.status == "failed":
            room.say(ended.note, wrong=True)
        if ended.status == "complete":
            self._announce(live.conversation, live.seconds)
        room.tell_conversations()
        room.tell_models()
        room.tell()
        self.desks.writing.count_soon()

    def _announce(self, conversation: int, seconds: float) -> None:
        """Say quietly that a long answer has ended."""
        from app.tui.notifying import announce

        room = self.room
        title = ""
        # The terminal may pass it on to the system, which keeps it: of a temporary chat it learns nothing.
        if not room.stores.is_temporary(conversation):
            with contextlib.suppress(QuietlyError):  # deleted in another window: its answer has ended all the same
                title = room.stores.disk.conversation(conversation).title
        announce(self.app, title, seconds, room.settings.notify_after, in_view=conversation == room.current)

    def _moved(self, moved: "ModelMoved") -> None:
        now = time.monotonic()
        moving = self.room.conductor.loading(moved.path) is not None
        # Loading reports every tensor; an eye needs fewer.
        if moving and now - self._told < 1 / PAINTS:
            return
        self._told = now
        if moved.too_big:
            self.desks.models.ask_to_insist(moved.path, moved.sentence)
        elif moved.sentence:
            self.room.say(moved.sentence, wrong=True)
        self.desks.bringing.told()
        self.room.tell()
        if not moving:
            self.desks.writing.count_soon()

    # --- what a person does ---

    async def _dispatch_message(self, message: Post) -> None:
        if not self._awake and type(message).__module__.startswith("app.tui.widgets"):
            # Someone was quicker than the page.
            self.call_after_refresh(self.post_message, message)
            return
        # What the store refuses is said, whichever widget asked for it; it is no reason to end the window.
        try:
            await super()._dispatch_message(message)
        except QuietlyError as error:
            self.room.refused(error)

    async def action_act(self, id: str, argument: str = "") -> None:
        """Do what the table calls `id`; refusals are said."""
        if not self._awake:
            # A key came before the page did.
            self.call_after_refresh(self.run_action, f"act({id!r}, {argument!r})")
            return
        try:
            done = self.acts[id](argument)
            if inspect.isawaitable(done):
                await done
        except QuietlyError as error:
            self.room.refused(error)
        except Exception as error:
            # One act that fails is no reason to end the window.
            self.room.decline(f"That did not work. {self._report(error)}", wrong=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "act" and len(parameters) == 1:
            match BY_ID[str(parameters[0])].where:
                case "transcript":
                    return self._awake and self.room.transcript.has_focus
                case "lists":
                    return self._awake and not isinstance(self.focused, Input | TextArea)
        return super().check_action(action, parameters)

    def do(self, id: str, argument: str = "") -> None:
        """Do what the table calls `id`, wherever the focus is."""
        aside(self.app, partial(self.action_act, id, argument))

    def on_composer_submitted(self, event: Composer.Submitted) -> None:
        if (typed := command(event.text)) is not None:
            action, argument = typed
            # Before it is carried out: what stands there then may be what it is about.
            self.room.area.composer.take(event.text)
            aside(self.app, partial(self._carry_out, event.text, action.id, argument))
            return
        self.desks.writing.submit(event.text)

    async def _carry_out(self, text: str, id: str, argument: str) -> None:
        """Do what was typed as `text`; where that is declined, it stands in the composer again."""
        room = self.room
        declined, page = room.declined, (room.current, room.temporary)
        await self.action_act(id, argument)
        # Not on another page: there it has been carried out, whatever went wrong behind it.
        if room.declined > declined and page == (room.current, room.temporary):
            room.area.composer.give_back(text)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        if self._awake and event.text_area is self.room.area.composer:
            self.desks.writing.changed()

    def on_composer_large_paste(self, event: Composer.LargePaste) -> None:
        self.desks.writing.pasted(event.text)

    def on_composer_paths_dropped(self, event: Composer.PathsDropped) -> None:
        self.desks.writing.attach(event.paths)

    def on_attachment_bar_remove_asked(self, event: "AttachmentBar.RemoveAsked") -> None:
        self.desks.writing.remove(event.key)

    def on_transcript_copy_requested(self, event: "Transcript.CopyRequested") -> None:
        self.room.copy(event.text, event.what)

    def on_transcript_selection_made(self, event: "Transcript.SelectionMade") -> None:
        if self.room.settings.copy_on_select:
            self.room.copy(event.text, "the selection")

    def on_transcript_branch_requested(self, event: "Transcript.BranchRequested") -> None:
        self.desks.messages.step(event.key, event.step)

    def on_transcript_menu_requested(self, event: "Transcript.MenuRequested") -> None:
        self.desks.messages.menu(event.key)

    def on_transcript_link_requested(self, event: "Transcript.LinkRequested") -> None:
        self.desks.messages.open_link(event.url)

    def on_find_bar_changed(self, event: "FindBar.Changed") -> None:
        self.desks.finding.changed(event.query)

    def on_find_bar_step(self, event: "FindBar.Step") -> None:
        self.desks.finding.step(event.step)

    def on_find_bar_closed(self) -> None:
        self.desks.finding.closed()

    def on_sidebar_conversation_chosen(self, event: Sidebar.ConversationChosen) -> None:
        self.desks.conversations.open(event.key)

    def on_sidebar_rename_asked(self, event: Sidebar.RenameAsked) -> None:
        self.desks.conversations.rename(event.key)

    def on_sidebar_pin_asked(self, event: Sidebar.PinAsked) -> None:
        self.desks.conversations.pin(event.key)

    def on_sidebar_delete_asked(self, event: Sidebar.DeleteAsked) -> None:
        self.desks.conversations.delete(event.key)

    def on_sidebar_menu_asked(self, event: Sidebar.MenuAsked) -> None:
        self.desks.conversations.menu(event.key)

    def on_sidebar_model_chosen(self, event: Sidebar.ModelChosen) -> None:
        self.desks.bringing.choose_row(event.key)

    def on_sidebar_model_asked(self, event: Sidebar.ModelAsked) -> None:
        self.desks.bringing.act_on_row(event.key, event.act)

    def on_sidebar_add_model(self) -> None:
        self.desks.bringing.more()

    def on_descendant_focus(self) -> None:
        if self._awake:
            self.room.tell()

    # --- the window itself ---

    def _write(self) -> None:
        self.desks.writing.focus()

    def _read_or_write(self) -> None:
        transcript = self.room.transcript
        if transcript.has_focus or not transcript.display:
            self._write()
        else:
            transcript.focus()
            if transcript.current is None:
                transcript.move_current(-1)

    def _stop(self) -> None:
        if self.stop_any() or self.desks.writing.end_editing():
            return
        self._write()

    def keep(self) -> None:
        """The window is about to go: what is typed is on disk when this returns."""
        if self._awake:
            self.desks.writing.keep()

    def stop_any(self) -> bool:
        """Stop the answer in view. False where none is being written."""
        room = self.room
        stopped = room.current is not None and room.conductor.stop(room.current)
        if stopped:
            room.tell()
        return stopped

    def _toggle_sidebar(self) -> None:
        # Wide terminals show it unless it was closed; narrow ones hide it unless it was opened.
        narrow = self.has_class("-narrow")
        self.toggle_class("-open" if narrow else "-closed")
        if narrow and self.has_class("-open"):
            # After the style has been applied: what is not displayed cannot take the focus.
            self.call_after_refresh(self.query_one(Sidebar).focus_conversations)
        elif narrow or self.has_class("-closed"):
            self._write()

    def _help(self) -> None:
        from app.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self._own_keys()))
