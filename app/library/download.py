"""Fetching a model from the Hub, in a process of its own that can be killed at any moment.

Run as a module this is that process: the Hub's client fetches into a `.part` folder, every size and checksum
is compared with what the Hub lists, and only then the folder takes the model's name. `fetch` is the other
side. One revision is pinned before the first byte; nothing is spoken to but the endpoint the client is set
to, and where that sends it: the child says whom it spoke to, and that is written into the ledger here.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from app import connections
from app.connections import Connection
from app.errors import QuietlyError
from app.library.local import PART
from app.library.traffic import Traffic
from app.settings import paths, private_folder

MARGIN = 256 * 1024 * 1024
"""Bytes that must stay free on the disk."""
RECORD = ".quietly.json"
"""In the finished folder: which repository at which revision it is."""
_INTERVAL = 0.2
"""Seconds between two reports of progress."""
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Bytes that are here, of all there are to fetch."""

    done: int
    total: int


class Done(msgspec.Struct, frozen=True, tag=True):
    path: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    sentence: str


class Spoke(msgspec.Struct, frozen=True, tag=True):
    """Something that is to be added to the ledger."""

    connection: Connection


Said = Progress | Done | Failed | Spoke
_decode = msgspec.json.Decoder(Said).decode


# --- the side that asks ---------------------------------------------------------------------------


async def fetch(
    repo: str,
    models: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    revision: str = "main",
) -> Path:
    """Fetch `repo` ("organisation/name") into a folder below `models`, Quietly's own by default; its path.

    Cancelling the task kills the process at once; what has come stays for the next try. `progress` gets bytes
    done and bytes in all. QuietlyError, in one sentence, for everything that can go wrong.
    """
    if not _REPO.fullmatch(repo):
        raise QuietlyError(f"{repo[:80]!r} names no model on the Hub: write organisation/name.")
    try:
        folder = private_folder(models or paths().models)
        private_folder(paths().logs)
    except OSError as error:
        raise QuietlyError(f"{error.filename} cannot be made ({error.strerror}): free that place.") from None
    with _log() as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app.library.download", repo, revision, str(folder)),
            stdin=asyncio.subprocess.PIPE,  # its end tells the child that nobody waits any more
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    try:
        assert child.stdout is not None
        async for line in child.stdout:
            message = _decode(line)
            if isinstance(message, Progress):
                progress(message.done, message.total)
            elif isinstance(message, Spoke):
                connections.ledger.add(message.connection)
            elif isinstance(message, Done):
                return Path(message.path)
            else:
                raise QuietlyError(message.sentence)
        code = await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    raise QuietlyError(f"The download of {repo} ended early (exit {code}): get it again to go on.")


@contextlib.contextmanager
def _log() -> Iterator[int]:
    """Where the child's complaints go: one file, for its owner alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    handle = os.open(paths().logs / "download.log", flags, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _environment() -> dict[str, str]:
    """The child's: our own code first on its path, the Hub's client without Xet, telemetry and bars."""
    root = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }


# --- the process that fetches ---------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """What the Hub says about a file."""

    name: str
    size: int
    blob: str
    """git's SHA-1 of the blob; for LFS files that of their pointer."""
    sha256: str | None
    """Of the content; only LFS files have it."""


def main(arguments: Sequence[str]) -> None:
    """Fetch, reporting on standard output in JSON lines. Ends when standard input does."""
    repo, revision, models = arguments
    os.umask(0o077)  # whatever the client creates is the person's alone
    with os.fdopen(os.dup(1), "wb", buffering=0) as pipe:
        os.dup2(2, 1)  # what libraries print goes to the log
        lock = threading.Lock()

        def say(message: Said) -> None:
            with lock:
                pipe.write(msgspec.json.encode(message) + b"\n")

        def tell() -> None:
            for connection in connections.ledger.news():
                say(Spoke(connection))

        threading.Thread(target=_die_with_parent, daemon=True).start()
        connections.watch("download", f"download of {repo}")
        connections.ledger.listen(tell)
        traffic = Traffic()
        try:
            end: Said = Done(str(_fetch(repo, revision, Path(models), say, traffic)))
        except QuietlyError as error:
            end = Failed(str(error))
        except Exception as error:  # whatever the client raises becomes a sentence; the rest is in the log
            sys.excepthook(type(error), error, error.__traceback__)
            end = Failed(_why(error, repo))
        with contextlib.suppress(BrokenPipeError):
            traffic.tell()
            say(end)
        sys.stdout.flush()
        os._exit(0)  # the client's threads may still wait on the network


def _die_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


def _fetch(repo: str, revision: str, models: Path, say: Callable[[Progress], None], traffic: Traffic) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    traffic.count()
    # Named here: the client looks at the environment only once, when it is first imported.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    api = HfApi(endpoint=endpoint)
    info = api.model_info(repo, revision=revision, timeout=10)
    commit = str(info.sha)
    files = _wanted(
        repo,
        [
            _File(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
            for entry in api.list_repo_tree(repo, revision=commit, recursive=False)
            if hasattr(entry, "blob_id")
        ],
    )
    final = models / repo.replace("/", "--")
    part = private_folder(final.with_name(final.name + PART))
    with _alone(part, repo):
        if _record(final) == {"repo": repo, "revision": commit} and not _differing(final, files, quick=True):
            shutil.rmtree(part)
            return final
        total = sum(file.size for file in files)
        for leftover in part.rglob("*.incomplete"):  # the client begins an unfinished file afresh
            leftover.unlink()
        needed = total - _here(part)
        if (free := shutil.disk_usage(part).free) < needed + MARGIN:
            raise QuietlyError(f"{repo} needs {_gib(needed)} more on the disk, {_gib(free)} are free: make room first.")
        with _reporting(part, total, say, traffic):
            names = [re.sub(r"([*?[])", r"[\1]", file.name) for file in files]
            snapshot_download(
                repo, revision=commit, local_dir=part, allow_patterns=names, max_workers=4, endpoint=endpoint
            )
        if differing := _differing(part, files):
            for name in differing:
                (part / name).unlink(missing_ok=True)
            raise QuietlyError(
                f"{repo}: {differing[0]} is not what the Hub lists and was thrown away; get the model again."
            )
        say(Progress(total, total))
        return _into_place(part, final, files, {"repo": repo, "revision": commit})


_READ = re.compile(
    r".+\.(safetensors|json|jinja|tiktoken)|tokenizer\.model|vocab\.txt|merges\.txt|README\.md|LICEN[SC]E.*"
)


def _wanted(repo: str, files: Sequence[_File]) -> list[_File]:
    """The files we read, of those at the top of a repository. QuietlyError where they make no model."""
    read = [file for file in files if _READ.fullmatch(file.name) and "/" not in file.name and file.name[0] != "."]
    weights = {file.name for file in read if file.name.endswith(".safetensors")}
    if not weights:
        raise QuietlyError(f"{repo} has no safetensors weights: choose its MLX version.")
    if not any(file.name == "config.json" for file in read):
        raise QuietlyError(f"{repo} has no config.json: choose its MLX version.")
    # some repositories carry the same weights a second time, as consolidated.safetensors
    if named := {name for name in weights if name.startswith("model")}:
        weights = named
    return [file for file in read if not file.name.endswith(".safetensors") or file.name in weights]


def _differing(folder: Path, files: Sequence[_File], quick: bool = False) -> list[str]:
    """The names of files that are missing or not as listed: by size, and unless `quick` by checksum."""
    return [file.name for file in files if not _matches(folder / file.name, file, quick)]


def _matches(path: Path, file: _File, quick: bool) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != file.size:
            return False
    except OSError:
        return False
    if quick:
        return True
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
        os.fsync(content.fileno())
    return digest.hexdigest() == (file.sha256 or file.blob)


def _into_place(part: Path, final: Path, files: Sequence[_File], record: dict[str, str]) -> Path:
    """Give the verified folder its name; an older version of the model makes way for it."""
    kept = {file.name for file in files}
    for child in part.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)  # the client's own notes
        elif child.name not in kept:
            child.unlink()
    (part / RECORD).write_bytes(msgspec.json.encode(record))
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    part.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return final


def _record(folder: Path) -> object:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


@contextlib.contextmanager
def _alone(part: Path, repo: str) -> Iterator[None]:
    """Hold the part folder against a second download of the same model."""
    handle = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise QuietlyError(f"{repo} is being fetched already, by another window or shell.") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def _reporting(part: Path, total: int, say: Callable[[Progress], None], traffic: Traffic) -> Iterator[None]:
    over = threading.Event()

    def report() -> None:
        while True:
            with contextlib.suppress(BrokenPipeError):
                say(Progress(min(_here(part), total), total))
                traffic.tell()
            if over.wait(_INTERVAL):
                return

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        yield
    finally:
        over.set()
        reporter.join()


def _here(part: Path) -> int:
    """Bytes of model files in the part folder, unfinished ones included, the client's notes not."""
    total = 0
    for folder, _, names in os.walk(part):
        inner = Path(folder) != part
        for name in names:
            if inner and not name.endswith(".incomplete"):
                continue
            with contextlib.suppress(OSError):  # renamed while we look
                total += (Path(folder) / name).stat().st_size
    return total


def _gib(size: int) -> str:
    return f"{max(size, 0) / 1024**3:.1f} GiB"


def _why(error: BaseException, repo: str) -> str:
    """What the client raised, as the sentence a person needs."""
    from huggingface_hub import errors

    chain = list(_chain(error))
    where = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "the Hub"
    for one in chain:
        if isinstance(one, errors.GatedRepoError):
            return (
                f"{repo} is gated: accept its conditions on its page at {where}, "
                "set HF_TOKEN to a token of yours, then get it again."
            )
        if isinstance(one, errors.RevisionNotFoundError):
            return f"{repo} has no such revision: leave it out to get the newest."
        if isinstance(one, errors.RepositoryNotFoundError):
            return f"There is no {repo} at {where}, or it is private: check the name, or set HF_TOKEN to see it."
        if isinstance(one, errors.OfflineModeIsEnabled):
            return f"{repo} was not fetched, HF_HUB_OFFLINE is set: unset it, then try again."
        if isinstance(one, errors.HfHubHTTPError):
            status = getattr(one.response, "status_code", None)
            if status in (401, 403):
                return f"{where} refused {repo} ({status}): set HF_TOKEN to a token that may read it."
            if status == 429:
                return f"{where} asks for a pause, too many requests (429): get {repo} again in a few minutes."
            return f"{where} answered {status} for {repo}: get it again later to go on where it stopped."
    for one in chain:
        if isinstance(one, OSError) and one.errno in (28, 122):
            return f"The disk is full: make room, then get {repo} again to go on where it stopped."
        if isinstance(one, PermissionError):
            return f"{one.filename} may not be written: check who owns Quietly's models folder."
    if any(type(one).__module__.partition(".")[0].startswith(("httpx", "httpcore")) for one in chain) or any(
        isinstance(one, ConnectionError | TimeoutError) for one in chain
    ):
        return f"{where} cannot be reached: check the connection, then get {repo} again to go on."
    return f"{repo} was not fetched ({type(error).__name__}): the log has more, {paths().logs / 'download.log'}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main(sys.argv[1:])
