"""The Textual application: what the window is made of, its theme, its errors, its end.

Collaborators come in from outside, and those that are slow to import come as functions: nothing of an engine
or of the model library is imported before the first frame.
"""

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text
from textual.app import App, ScreenStackError, SystemCommand
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.driver import Driver
from textual.screen import Screen
from textual.theme import Theme
from textual.widget import MountError
from textual.worker import Worker, WorkerFailed, WorkerState

from app import failures
from app.assets import asset
from app.chat.store import Store
from app.chat.text import visible
from app.conducting.stores import Stores
from app.errors import QuietlyError
from app.settings import Paths, Settings, load_settings, paths, save_settings
from app.shelf import Shelf
from app.tui import telling
from app.tui.actions import ACTIONS, keys_shown
from app.tui.following import aside
from app.tui.screens.chat import NARROW, SHORT, ChatScreen
from app.tui.screens.guarded import GuardedScreen
from app.tui.widgets.composer import ENTER_BREAKS

if TYPE_CHECKING:
    from app.conducting.engines import PoolLike
    from app.conducting.lives import News
    from app.conducting.turns import Conductor
    from app.erasing import Left
    from app.tui.library import Library
    from app.tui.screens.form import Changes

_COLLECT = (10_000, 20, 500)
"""When Python looks for garbage by itself: the oldest generation hardly ever, since that holds up everything for tens
of milliseconds; it is looked through after each answer instead."""
_REST = 1.0
"""Seconds after an answer until that is done."""
_NOTICE = 60
"""Cells that a notice takes at most."""
_TWICE = 2.0
"""Seconds within which a second Ctrl+C quits."""


class QuietlyApp(App[None]):
    """The window and what lives as long as it does."""

    TITLE = "Quietly"
    CSS_PATH: ClassVar = [asset(f"styles/{name}.tcss") for name in ("quietly", "sidebar", "composer")]
    ENABLE_COMMAND_PALETTE = True
    NOTIFICATION_TIMEOUT = 6
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="window.quit"),
        Binding("ctrl+p", "command_palette", "All commands", show=False, priority=True, id="window.palette"),
        Binding(
            "ctrl+right_square_bracket,f2",
            "connections",
            "Connections",
            show=False,
            priority=True,
            id="window.connections",
        ),
        Binding("ctrl+c", "help_quit", show=False, system=True, id="app.interrupt"),
    ]

    def __init__(
        self,
        store: Store,
        pool: "Callable[[], PoolLike]",
        library: "Library",
        places: Paths,
        today: Callable[[], date] = date.today,
        settings: Settings | None = None,
        mistakes: Sequence[str] = (),
    ) -> None:
        """`mistakes`: a sentence for each thing that is set and not understood, said once the window stands."""
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (NARROW, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (SHORT, "-tall")]
        self.store = store
        self.library = library
        self.shelf = Shelf(store)
        self.settings = settings or Settings()
        self.stores = Stores(store)
        self._make_pool = pool
        self.chat = ChatScreen(
            self.stores,
            self.shelf,
            lambda: self.conductor,
            library,
            lambda: self.settings,
            today,
            self.report,
            lambda: self.own_keys,
        )
        self._places = places
        self._mistakes = mistakes
        self._key_mistakes: Sequence[str] = ()
        self.own_keys = {} if self.settings.enter_sends else dict(ENTER_BREAKS)
        """What stands on other keys than its own: by an action's id, its keys as bindings name them."""
        self._interrupted = 0.0
        self._erasing = False
        """Whether everything is being deleted, or is deleted already."""
        self._copying = asyncio.Lock()
        self.theme = self.settings.theme

    @cached_property
    def conductor(self) -> "Conductor":
        """Made when it is first asked for: the first frame comes first."""
        from app.conducting.turns import Conductor

        return Conductor(self.stores, self._make_pool, self._pass_on, self.report, lambda: self.settings)

    def get_driver_class(self) -> type[Driver]:
        from textual.drivers.linux_driver import LinuxDriver

        from app.tui.driver import TerminalDriver

        usual = super().get_driver_class()
        return TerminalDriver if usual is LinuxDriver else usual

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        self.set_keymap(self.own_keys)  # before anything can be typed; the person's own follow
        # Asked to end, or the terminal was closed: as with Ctrl+Q, the terminal is put back and answers are kept.
        loop = asyncio.get_running_loop()
        for asked in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(asked, partial(self.exit, return_code=128 + asked))

    def on_chat_screen_shown(self) -> None:
        # What was made until now stays for good: frozen, it is never looked through again.
        if not gc.isenabled():
            gc.freeze()
            gc.set_threshold(*_COLLECT)
            gc.enable()
        self._use_keys()
        self._tell_mistakes([*self._mistakes, *self._key_mistakes])
        if self.store.notice:
            self.notify(self.store.notice, severity="warning", timeout=20, markup=False)
        aside(self, self._tidy)

    def on_chat_screen_heard(self, event: ChatScreen.Heard) -> None:
        from app.conducting.lives import AnswerEnded

        if isinstance(event.news, AnswerEnded):
            self.set_timer(_REST, self._collect)

    def _collect(self) -> None:
        if not self.conductor.lives:
            gc.collect()

    async def _tidy(self) -> None:
        """Delete what was kept for as long as the person wants, and keep today's state. Aside: it may take a while."""
        try:
            if days := self.settings.keep_days:
                self.chat.expired(await asyncio.to_thread(self.store.expire, days), days)
        finally:
            try:
                await self._back_up()
            finally:
                await self._sweep()

    async def _sweep(self) -> None:
        """Leave on disk of what models have read only what still belongs to a conversation, and no more than is set."""
        from app import kept

        def sweep() -> None:
            conversations = {one.id for one in self.store.conversations()} if self._places.sessions.exists() else set()
            kept.sweep(self._places.sessions, conversations, kept.disk_for(self.settings))

        await asyncio.to_thread(sweep)

    async def _back_up(self) -> None:
        await asyncio.to_thread(self.store.back_up, self.settings.backups)

    def use(self, settings: Settings) -> None:
        """Put other settings in force: at once, but for what is done when the window opens."""
        before, self.settings = self.settings, settings
        self.theme = settings.theme
        if settings.backups != before.backups:
            aside(self, self._back_up)
        if settings.keep_read != before.keep_read:
            aside(self, self._sweep)
        self._use_keys()
        self._tell_mistakes(self._key_mistakes)

    def _tell_mistakes(self, sentences: Sequence[str]) -> None:
        """Say what is not understood of what is set, above the composer."""
        if not sentences:
            return
        width, height = self.size
        said = telling.mistakes(sentences, min(_NOTICE, width * 9 // 10) - 3, height // 2)
        title = f"{len(sentences):,} mistakes in the settings" if len(sentences) > 1 else ""
        self.notify(said, title=title, severity="warning", timeout=20, markup=False)

    def action_settings(self) -> None:
        """Show everything that can be set."""
        from app.tui.screens.settings import SettingsScreen

        def saved(changes: "Changes | None") -> None:
            if changes:
                aside(self, partial(self._change, changes))

        self.push_screen(SettingsScreen(self.settings, [*self._mistakes, *self._key_mistakes]), saved)

    async def _change(self, changes: "Changes") -> None:
        """Set what the person changed, and put it in force. QuietlyError where the file cannot be changed."""
        await asyncio.to_thread(save_settings, self._places.settings, changes)
        settings, self._mistakes = await asyncio.to_thread(load_settings, self._places.settings)
        self.use(settings)

    def action_erase(self) -> None:
        """Delete everything that was said, after a question, and end."""
        from app.erasing import erase_everything
        from app.tui.erasing import ask_and_erase

        if self.conductor.lives:
            self.chat.room.decline("An answer is being written; stop it first, then delete everything.")
            return

        def erase() -> "Sequence[Left]":
            self._erasing = True
            try:
                return erase_everything(self._places, self.store)
            except BaseException:
                self._erasing = False
                raise

        self.chat.keep()
        ask_and_erase(self, erase, lambda said: self.exit(message=Text(said)))

    def action_connections(self) -> None:
        """Show whom Quietly spoke to, whatever else is on the screen; once more, and no longer."""
        from app import connections
        from app.tui.screens.connections import ConnectionsScreen

        if isinstance(self.screen, ConnectionsScreen):
            self.screen.dismiss()
        else:
            self.push_screen(ConnectionsScreen(connections.ledger, self.chat.room.copy))

    def push_screen(self, screen: Screen[Any] | str, *others: Any, **named: Any) -> Any:
        """Cover what is on the screen, unless by another of a kind that is there already, be it under others: keys are
        pressed twice, and some work over every screen."""
        if any(type(known) is type(screen) for known in self.screen_stack):
            return AwaitComplete()
        return super().push_screen(screen, *others, **named)

    def _use_keys(self) -> None:
        """Put the keys that the person has set in force, and keep a sentence for each that cannot be."""
        wanted = self.settings.keys if self.settings.enter_sends else ENTER_BREAKS | self.settings.keys
        self.own_keys, self._key_mistakes = dict(wanted), ()
        if self.settings.keys:
            from app.tui.keys import keymap, known

            self.own_keys, self._key_mistakes = keymap(wanted, known())
        self.set_keymap(self.own_keys)
        self.chat.use_settings()

    def _pass_on(self, news: "News") -> None:
        """Give what the conductor says to the window, also while another screen covers it."""
        self.chat.post_message(self.chat.Heard(news))

    def _keep_theme(self, theme: Theme) -> None:
        """A theme that was chosen from the list is set."""
        if theme.name != self.settings.theme:
            self.settings = replace(self.settings, theme=theme.name)
            keep = partial(save_settings, self._places.settings, {"theme": theme.name})
            aside(self, partial(asyncio.to_thread, keep))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for action in ACTIONS:
            if action.palette and (screen is self.chat or action.id in ("window.theme", "window.quit")):
                keys = keys_shown(action, self.own_keys)
                says = f"{action.says}   {keys}" if keys else action.says
                yield SystemCommand(action.label, says, partial(self.chat.do, action.id))

    def action_command_palette(self) -> None:
        from app.tui.palette import Palette

        self.push_screen(Palette())

    def search_themes(self) -> None:
        from textual.theme import ThemeProvider

        from app.tui.palette import Palette

        self.push_screen(Palette(providers=[ThemeProvider], placeholder="Search for themes…"))

    def copy_to_clipboard(self, text: str) -> None:
        """Copy by the system's own program or by asking the terminal (OSC 52), whichever reaches the person first."""
        self._clipboard = text
        aside(self, partial(self._copy, text))

    async def _copy(self, text: str) -> None:
        from app.tui import clipboard

        async with self._copying:  # or a slow program would bring what was copied before over what was copied last
            far = clipboard.terminal_first()
            if far:
                self._ask_terminal(text)
            if not await asyncio.to_thread(clipboard.copy, text) and not far:
                self._ask_terminal(text)

    def _ask_terminal(self, text: str) -> None:
        newest = self._clipboard
        super().copy_to_clipboard(text)
        self._clipboard = newest

    # --- the end ---

    async def action_quit(self) -> None:
        # Behind the letters that are still on their way to where they were typed.
        (self.focused or self).call_later(self._quit)

    def _quit(self) -> None:
        """End, after a question where a form would lose what was changed in it."""
        if not any(isinstance(screen, GuardedScreen) and screen.would_lose for screen in self.screen_stack):
            self.exit()
            return
        from app.tui.screens.asking import Confirm

        def answered(yes: bool | None) -> None:
            if yes:
                self.exit()

        detail = "What you changed in the form is then as it was."
        self.push_screen(Confirm("Quit without saving?", "Quit", detail), answered)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        self._keep()
        super().exit(result, return_code, message)

    def _keep(self) -> None:
        """What is typed is on disk when this returns, unless everything is to be deleted, whoever ends the window."""
        if not self._erasing:
            self.chat.keep()

    def action_help_quit(self) -> None:
        """Ctrl+C with nothing selected: stop what is being written; pressed twice, quit."""
        if self.screen is self.chat and self.chat.stop_any():
            return
        now = time.monotonic()
        if now - self._interrupted < _TWICE:
            self._quit()
            return
        self._interrupted = now
        self.notify("Press Ctrl+C again to quit.", timeout=_TWICE, markup=False)

    async def on_unmount(self) -> None:
        # The terminal is already the person's again; partial answers are kept, engines end.
        await self.library.close()
        await self.conductor.close()
        if self._erasing:  # an engine that was just loading may have made the folder again, and another written there
            from app import kept

            with contextlib.suppress(OSError):  # what is left goes with the next start
                kept.clear(self._places.sessions)
        self.stores.close()

    # --- errors nobody foresaw ---

    def report(self, error: BaseException) -> str:
        """Write a redacted report; returns the sentence that says where."""
        return failures.sentence(error, self._places.logs)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        error = event.worker.error
        if event.state is WorkerState.ERROR and error is not None:
            known = isinstance(error, QuietlyError)
            said = str(error) if known else f"That did not work. {self.report(error)}"
            self.notify(said, severity="error", timeout=10, markup=False)

    def _handle_exception(self, error: Exception) -> None:
        """Textual's way out for unhandled errors; its own prints a traceback with values of variables."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        if self._exit and isinstance(cause, MountError | NoMatches | ScreenStackError):
            return  # the window was asked to end before all of it stood, or while something was still on its way
        self._return_code = 1
        if self._exception is None:
            # Test frameworks wait for this.
            self._exception = error
            self._exception_event.set()
            self.conductor.save()
            with contextlib.suppress(Exception):  # it may be the composer that failed
                self._keep()
            said = f"Quietly had to stop; everything said so far is stored. {self.report(cause)}"
            self.panic(Text(said))
        else:
            self._close_messages_no_wait()


def run_window() -> int:
    """Open the window on this installation's conversations; returns the exit status."""
    # A collection before the first frame takes 20 to 30 ms and finds nothing.
    gc.disable()
    where = paths()
    try:
        store = Store.open(where.database)
    except QuietlyError as error:
        from app.tui.screens.refusal import refuse

        return refuse(str(error))
    from app.tui.library import Library

    settings, mistakes = load_settings(where.settings)
    settings = _with_old_theme(settings, store, where.settings)
    library = Library(where)
    app = QuietlyApp(
        store, lambda: _pool(where, lambda: app.settings), library, where, settings=settings, mistakes=mistakes
    )
    try:
        with store:
            app.run()
    except QuietlyError as error:  # the last words could not be written
        print(visible(str(error)), file=sys.stderr)
        return 1
    return app.return_code or 0


def _with_old_theme(settings: Settings, store: Store, file: Path) -> Settings:
    """The settings with the theme that was remembered before themes were one of them; it is taken over once."""
    theme = store.remembered("theme")
    if not theme:
        return settings
    with contextlib.suppress(QuietlyError):  # what cannot be taken over waits for the next start
        if settings.theme == Settings().theme:
            save_settings(file, {"theme": theme})
            settings = replace(settings, theme=theme)
        store.remember("theme", "")
    return settings


def _pool(where: Paths, settings: Callable[[], Settings]) -> "PoolLike":
    from app.engines import engines

    return engines(where, settings)
