"""Who is still alive: every process that writes answers holds one locked file for as long as it lives.

The kernel gives a lock back when its process ends, however it ends, so a lock that can be taken means a dead
writer. A process number alone would not do: numbers are used again. Whoever only has the conversations open
shares a lock on the folder of those files. Knows nothing of answers or databases.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from app.settings import private_folder

_NAME = re.compile(r"\d+-[0-9a-f]{16}\.lock")


class Unshared:
    """The lease of a writer whose answers nobody else can see: it needs no file."""

    name = "unshared"

    def release(self) -> None:
        """There is nothing to let go of."""


class Lease:
    """One process's locked file. Released by `release`, or by the kernel when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take a fresh lease in `folder`, created where missing. OSError where nothing can be locked."""
        private_folder(folder)
        while True:
            self.name = f"{os.getpid()}-{os.urandom(8).hex()}.lock"
            self._path = folder / self.name
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                # Between creation and lock another process may have removed it as a dead writer's.
                if os.fstat(self._descriptor).st_nlink:
                    return
            except BaseException:
                os.close(self._descriptor)
                self._path.unlink(missing_ok=True)
                raise
            os.close(self._descriptor)

    def release(self) -> None:
        """Remove the file, then let go of the lock: nobody can find it unlocked and still named."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Presence:
    """One store's share in the lock on `folder`: while it is held, nobody may move the file away."""

    def __init__(self, folder: Path) -> None:
        """Take a share, waiting for whoever is alone. OSError where nothing can be locked."""
        self._descriptor = os.open(private_folder(folder), os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(self._descriptor)
            raise

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yields whether this is the only share; while the body runs nobody can take another."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            nobody_else = False
        else:
            nobody_else = True
        try:
            yield nobody_else
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # also where it was not got: the attempt may cost the share

    def release(self) -> None:
        """Give the share back."""
        os.close(self._descriptor)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Yields whether no store has a Presence in `folder`; while the body runs none can take one."""
    descriptor = os.open(private_folder(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def names(folder: Path) -> set[str]:
    """The leases that lie in `folder`, of the living and of the dead."""
    try:
        return {entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name)}
    except FileNotFoundError:
        return set()


@contextlib.contextmanager
def seized(folder: Path, name: str) -> Iterator[bool]:
    """Yields whether the writer `name` is dead; while the body runs nobody else can come to that conclusion.

    A dead writer's file is removed once the body is through. A name without a file is a dead writer's too: a
    file is there and locked before anything else mentions it.
    """
    if not _NAME.fullmatch(name):
        yield True
        return
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    except OSError:  # another user's, say: in doubt nobody is declared dead
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held by a living writer, or this file system has no locks
            yield False
            return
        yield True
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
