"""The file behind the store: opened, shared with other processes, backed up, let go.

Nothing here ever deletes a file that cannot be read. Calls take turns, whichever thread they come from; the
backups alone are made and cleaned outside of them. Knows of messages only whether one is being written.
"""

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from app.chat import lease, opening
from app.chat.failures import explaining, is_damage, legible
from app.chat.records import Removed
from app.errors import QuietlyError
from app.settings import turn_in

if TYPE_CHECKING:
    from app.chat.backups import Entry


class StoreFile:
    """One open file, or a place in memory. Made by `open` or `temporary`; a context manager that closes itself."""

    TEMPORARY: ClassVar[int] = 1 << 40
    """Above this number begin the ids of what was never meant to be kept, so that they equal none on disk."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, presence: lease.Presence | None, notice: str
    ) -> None:
        self.path = path
        self.notice = notice
        """What the person should know about how the file was opened; usually nothing."""
        self._connection = connection
        self._presence = presence
        self._turn = threading.RLock()
        self._final: deque[Entry] = deque()
        self._forgetting = threading.Lock()
        self._lease: lease.Lease | lease.Unshared | None = None
        self._version = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store in `path`, created where there is none, brought up to date where it is older.

        Answers whose writer has died are marked as interrupted. A damaged file is set aside for its last backup;
        `notice` says so. QuietlyError where the file cannot be used.
        """
        with explaining(path):
            store = cls(path, *opening.connect(path))
            try:
                with store._reading():
                    store._mark_interrupted()
            except BaseException:
                store.close()
                raise
        return store

    @classmethod
    def temporary(cls) -> Self:
        """A store in memory alone: nothing of it ever touches the disk, and it is gone when closed."""
        return cls(Path("The temporary chat"), opening.connect_temporary(cls.TEMPORARY), None, "")

    def close(self) -> None:
        """Let go of the file; an answer that was still being written is marked as interrupted.

        What was deleted and not yet forgotten goes from the backups now.
        """
        with contextlib.suppress(QuietlyError):
            if self._presence:
                self._forget(self._unforgotten(), wait=False)
        with self._reading():
            held, self._lease = self._lease, None
            present, self._presence = self._presence, None
            try:
                if held:
                    self._interrupt(held.name)
            finally:
                if held:
                    held.release()
                self._connection.close()
                if present:
                    present.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def changed_elsewhere(self) -> bool:
        """Whether somebody else has changed the file since this was last asked; costs next to nothing."""
        with self._reading() as connection:
            before, (self._version,) = self._version, connection.execute("PRAGMA data_version").fetchone()
            return self._version != before

    # --- backups -----------------------------------------------------------------------------------------

    def back_up(self, kept: int = 7) -> Path | None:
        """Make today's backup where there is none yet; returns where it is, if it was made now.

        The newest `kept` stay; with 0 none is made, and those that are there go. Then takes out of all of them
        whatever was deleted and not yet forgotten, perhaps by a program that died; if that is undone, the next backup
        has it again. Reads the whole file: call it aside.
        QuietlyError where it cannot be written, or where the file turns out to be damaged.
        """
        if self._presence is None:
            return None
        from app.chat import backups

        made = backups.back_up(self.path, date.today(), kept)
        self._forget(self._unforgotten(), wait=True, whole=True)
        return made

    def forget(self, removed: Removed) -> None:
        """`removed` will not be restored: no word of it stays in the file, its index and log, nor in the backups.

        The room it took is given back. In a file above 64 MiB the last traces, in unused parts of pages, go with the
        next `back_up`: that holds up whoever writes. Takes a while, call it aside; where another call is at it, that
        one does this too. Nothing where it was restored. QuietlyError where a file cannot be written; then it is
        tried again later.
        """
        self._make_final([(removed.kind, removed.id, removed.created)])

    def erase(self) -> None:
        """Delete everything for good: whatever a person made, what is remembered, backups, damaged files set aside.

        An empty file stays. QuietlyError, and nothing is deleted, where an answer is being written, or another window
        has the file open. Takes a while, and whoever calls another method meanwhile waits; call it aside.
        """
        from app.chat import backups, cleaning

        with self._reading() as connection, self._alone():
            if connection.execute("SELECT 1 FROM messages WHERE status = 'writing'").fetchone():
                raise QuietlyError("An answer is still being written; stop it, then delete everything again.")
            if self._presence:
                held, self._lease = self._lease, None
                if held:
                    held.release()
                # First, so that whoever is cut short still sees what there is to delete.
                backups.erase(self.path)
                cleaning.leave_nothing_beside(self.path)
            if not cleaning.erase(connection):
                raise QuietlyError(
                    f"{self.path} is being read by another program, so words may be left in its log; close that"
                    " program, then delete everything again."
                )

    # --- within ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, explaining(self.path):
            try:
                with legible():
                    yield self._connection
            except sqlite3.DatabaseError as error:
                if self._presence and is_damage(error):
                    with contextlib.suppress(OSError):
                        opening.suspected(self.path).touch(0o600)
                raise

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk at the end of the block, or without any effect."""
        with self._reading() as connection:
            # IMMEDIATE: a transaction that starts by reading could not wait for another writer.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While the body runs nobody else opens the file. QuietlyError where somebody has it open."""
        if self._presence is None:
            yield
            return
        with turn_in(self.path.parent), self._presence.alone() as nobody_else:
            if not nobody_else:
                raise QuietlyError(
                    f"{self.path} is open in another Quietly window; close that one, then delete everything again."
                )
            yield

    def _writer(self) -> str:
        """The name under which this process writes answers, its lease taken at the first one."""
        if self._lease is None:
            self._lease = lease.Lease(opening.writers(self.path)) if self._presence else lease.Unshared()
        return self._lease.name

    def _mark_interrupted(self) -> None:
        """Mark the answers of writers that are dead, and remove what those left behind."""
        writers = opening.writers(self.path)
        unfinished = self._connection.execute("SELECT DISTINCT writer FROM messages WHERE status = 'writing'")
        for name in {str(writer) for (writer,) in unfinished} | lease.names(writers):
            with lease.seized(writers, name) as dead:
                if dead:
                    self._interrupt(name)

    def _interrupt(self, writer: str) -> None:
        self._connection.execute(
            "UPDATE messages SET status = 'interrupted', writer = NULL WHERE status = 'writing' AND writer = ?",
            (writer,),
        )

    def _unforgotten(self) -> list["Entry"]:
        """What was deleted and may still stand in backups and in the log."""
        with self._reading() as connection:
            return connection.execute("SELECT kind, id, created FROM forgotten").fetchall()

    def _make_final(self, entries: Sequence["Entry"]) -> None:
        """Forget `entries`; of several calls at once the first does it for all, so that many deletions cost one."""
        self._final.extend(entries)
        while self._final and self._forgetting.acquire(blocking=False):
            try:
                self._forget([self._final.popleft() for _ in range(len(self._final))], wait=True)
            finally:
                self._forgetting.release()

    def _forget(self, entries: Sequence["Entry"], *, wait: bool, whole: bool = False) -> None:
        """Forget those of `entries` that were not restored; unless `wait`, not while a backup is being made.

        Of a large file the last step, which holds up whoever writes, is left for a call with `whole`.
        """
        noted = set(self._unforgotten())
        pending = [entry for entry in entries if entry in noted]
        if not pending or self._presence is None:
            return
        from app.chat import backups, cleaning

        brief = cleaning.is_brief(self.path)
        if not backups.forget(self.path, pending, wait=wait, vacuum=wait or brief):
            return  # they stay noted
        if cleaning.clean(self.path, vacuum=whole or brief) and (whole or brief):
            with self._changing() as connection:
                connection.executemany("DELETE FROM forgotten WHERE (kind, id, created) = (?, ?, ?)", pending)
