"""How a fetched model lies in Quietly's models folder: as the Hub's own cache has it, with a note of what was asked.

`models--org--name/` has `blobs/` by checksum (`.part` while one comes), `snapshots/<commit>/` with links into them, and
`refs/main` with the commit. Snapshot and ref are made only when every blob is whole and verified, so that what has them
is a model; the note, `.quietly.json`, is written before the first byte, so that half a download can be told and gone on
with offline. It knows neither the Hub nor how anything is fetched.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.errors import QuietlyError
from app.library import disk
from app.settings import private_folder

if TYPE_CHECKING:
    from hashlib import _Hash

REPO = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""What a repository on the Hub can be called; two dashes stand for the slash in its folder."""
RECORD = ".quietly.json"
PART = ".part"
"""The end of a blob's name while it comes; of a folder's, in the layout there was before."""
_LOCKS = ".locks"
_LONGEST_NAME = 255
"""Bytes; what disks take."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a repository, as the Hub lists it."""

    name: str
    size: int
    """Bytes."""
    sha256: str = ""
    """Of the content; only LFS files have it. Where it is empty there is `blob`."""
    blob: str = ""
    """git's SHA-1 of the content as a blob."""

    @property
    def id(self) -> str:
        """What the content is called in `blobs`: its checksum."""
        return self.sha256 or self.blob

    @property
    def is_sound(self) -> bool:
        """Whether it can be a file of a model: its name leads nowhere else, its checksum is one."""
        printable = self.name.isprintable() and 0 < len(self.name.encode()) <= _LONGEST_NAME
        named = printable and "/" not in self.name and self.name not in (".", "..")
        checked = _SHA256.fullmatch(self.sha256) if self.sha256 else _SHA1.fullmatch(self.blob)
        return named and checked is not None and self.size >= 0

    def digest(self) -> "_Hash":
        """What its content is fed to; in the end the hexdigest is `id`."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


class Record(msgspec.Struct, frozen=True):
    """What is being fetched or was: one commit of one repository."""

    repo: str
    revision: str
    """As it was asked for: a branch, a tag, a commit."""
    commit: str
    files: tuple[File, ...]
    complete: bool = False

    @property
    def total(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.blobs)

    @property
    def blobs(self) -> tuple[File, ...]:
        """Its files, those of one content once."""
        return tuple({file.id: file for file in self.files}.values())


class Repository:
    """The folder of one model below the models folder, whether it is there or not."""

    def __init__(self, models: Path, repo: str) -> None:
        self.repo = repo
        self.folder = models / f"models--{repo.replace('/', '--')}"
        self._earlier = models / repo.replace("/", "--")
        self._lock = models / _LOCKS / f"{self.folder.name}.lock"

    # --- what is there ---

    @property
    def record(self) -> Record | None:
        """What is being fetched or was; None where nothing is, or the note is damaged."""
        return read_record(self.folder)

    def snapshot(self, record: Record) -> Path:
        """Where the model of this record is, once it is complete."""
        return self.folder / "snapshots" / record.commit

    def blob(self, file: File) -> Path:
        """Where the verified content of `file` is."""
        return self.folder / "blobs" / file.id

    def part(self, file: File) -> Path:
        """Where what has come of it is."""
        return self.folder / "blobs" / f"{file.id}{PART}"

    def standing(self, commit: str, files: Sequence[File]) -> Path | None:
        """The folder of this commit, in either layout, if all of `files` are there and as long as they should be."""
        record = self.record
        if record is not None and record.complete and record.commit == commit:
            return _whole(self.folder / "snapshots" / commit, files)
        with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
            noted = msgspec.json.decode((self._earlier / RECORD).read_bytes())
            if noted == {"repo": self.repo, "revision": commit}:
                return _whole(self._earlier, files)
        return None

    # --- what is done to it ---

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it against every other process. QuietlyError where one has it."""
        while True:
            private_folder(self._lock.parent)
            try:
                handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:  # who was there last has just removed the folder
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _is_at(handle, self._lock):  # who had it has just removed it: another may hold a new one
                    continue
                try:
                    yield
                finally:
                    self._lock.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        self._lock.parent.rmdir()
                return
            except BlockingIOError:
                raise QuietlyError(f"{self.repo} is being fetched already, by another window or shell.") from None
            finally:
                os.close(handle)

    def begin(self, record: Record) -> None:
        """Note what will be fetched, before the first byte; what came of something else makes room."""
        private_folder(self.folder)
        private_folder(self.folder / "blobs")
        self._note(record)
        self._sweep({file.id for file in record.files} | self._linked())

    def finish(self, record: Record) -> Path:
        """Let the verified blobs be a model; the version there was before makes way. The snapshot's folder.

        Killed on the way it is not complete yet, and done again.
        """
        snapshot = self.snapshot(record)
        made = private_folder(snapshot.parent) / f".{record.commit}"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        for file in record.files:
            (made / file.name).symlink_to(Path("..", "..", "blobs", file.id))
        disk.delete(snapshot)
        made.rename(snapshot)
        _write(private_folder(self.folder / "refs") / "main", record.commit.encode())
        for other in snapshot.parent.iterdir():
            if other != snapshot:
                disk.delete(other)
        self._sweep({file.id for file in record.files})
        for earlier in (self._earlier, self._earlier.with_name(self._earlier.name + PART)):
            shutil.rmtree(earlier, ignore_errors=True)
        self._note(msgspec.structs.replace(record, complete=True))
        return snapshot

    def discard(self) -> int:
        """Remove what came of a download that has not ended; a version that was there before stays. Bytes that frees.

        QuietlyError where another process fetches it, or where something may not be removed.
        """
        parts = self._earlier.with_name(self._earlier.name + PART)
        if not self.folder.exists() and not parts.exists():
            return 0
        with self.alone():
            before = _bytes(self.folder) + _bytes(parts)
            try:
                standing = self._linked()
                if standing:
                    self._sweep(standing)
                    self._note_standing()
                elif self.folder.exists():
                    shutil.rmtree(self.folder)
                if parts.exists():
                    shutil.rmtree(parts)
            except OSError as error:
                raise QuietlyError(
                    f"{error.filename} cannot be removed ({error.strerror}): check who owns Quietly's models folder."
                ) from error
            return before - _bytes(self.folder) - _bytes(parts)

    def _commit(self) -> str:
        """The commit of the version that stands; empty where none does."""
        with contextlib.suppress(OSError, ValueError):
            commit = (self.folder / "refs" / "main").read_text("ascii").strip()
            if _SHA1.fullmatch(commit) and (self.folder / "snapshots" / commit).is_dir():
                return commit
        return ""

    def _standing_files(self) -> tuple[File, ...]:
        """The files of the version that stands, by its links."""
        if not (commit := self._commit()):
            return ()
        files = []
        for link in sorted((self.folder / "snapshots" / commit).iterdir()):
            with contextlib.suppress(OSError):
                id, size = link.readlink().name, link.stat().st_size
                key = "sha256" if _SHA256.fullmatch(id) else "blob"
                files.append(msgspec.convert({"name": link.name, "size": size, key: id}, File))
        return tuple(files)

    def _linked(self) -> set[str]:
        return {file.id for file in self._standing_files()}

    def _note_standing(self) -> None:
        """After a download of a newer version was given up: the note is of the one that stands again."""
        record = self.record
        if record is not None and not record.complete:
            commit = self._commit()
            self._note(Record(self.repo, commit, commit, self._standing_files(), complete=True))

    def _note(self, record: Record) -> None:
        _write(self.folder / RECORD, msgspec.json.encode(record))

    def _sweep(self, kept: set[str]) -> None:
        """Remove every blob but these, and of all others what came of them."""
        for file in (self.folder / "blobs").iterdir():
            if file.name.removesuffix(PART) not in kept:
                disk.delete(file)


def read_record(folder: Path) -> Record | None:
    """The note in a model's folder; None where there is none, or one that cannot be true."""
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
    sound = _SHA1.fullmatch(record.commit) and record.files and all(file.is_sound for file in record.files)
    return record if sound else None


def here(folder: Path, record: Record) -> int:
    """Bytes of the record's files that are in the folder, those of unfinished ones included."""
    return sum(_here(folder / "blobs" / file.id, file) for file in record.blobs)


def unfinished(folder: Path) -> tuple[int, int] | None:
    """Of a download in the folder that has not ended: bytes that are here, bytes in all. None where there is none."""
    record = read_record(folder)
    return None if record is None or record.complete else (here(folder, record), record.total)


def _here(blob: Path, file: File) -> int:
    for path in (blob, blob.with_name(blob.name + PART)):
        with contextlib.suppress(OSError):  # renamed while we look
            return min(path.stat().st_size, file.size)
    return 0


def _whole(folder: Path, files: Sequence[File]) -> Path | None:
    """`folder`, if all of `files` are in it and as long as they should be."""
    try:
        return folder if all((folder / file.name).stat().st_size == file.size for file in files) else None
    except OSError:
        return None


def _bytes(folder: Path) -> int:
    """Bytes of the files below `folder`; links are not followed."""
    found = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                state = Path(inner, name).lstat()
                found += state.st_size if stat.S_ISREG(state.st_mode) else 0
    return found


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _write(file: Path, content: bytes) -> None:
    """`content` in `file`, whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    with new.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(file)
