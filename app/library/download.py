"""Fetching a model from the Hub, in a process of its own that can be killed at any moment.

Run as a module this is that process: the Hub's client says what there is and how to ask for it, our own reader
(`app.library.ranges`) fetches the files into the layout of the Hub's cache (`app.library.layout`), and only when every
checksum is as listed they become a model. `fetch` is the other side. One revision is pinned and noted before the first
byte; nothing is spoken to but the endpoint the client is set to, and where that sends it: the process says whom it
spoke to, and that is written into the ledger here. Where the licence restricts what the model may be used for, nothing
is fetched before that was agreed to.
"""

import contextlib
import errno
import os
import re
import shutil
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.child import Say, serve, speaking, tell_connections
from app.errors import QuietlyError
from app.library.layout import REPO, File, Record, Repository, here
from app.library.licences import Terms, Unagreed, terms
from app.library.ranges import LONGEST_PAUSE, TIMEOUT, Broken, Reader, causes, of_network
from app.library.traffic import Traffic
from app.settings import paths, private_folder
from app.sizes import size

MARGIN = 256 * 1024 * 1024
"""Bytes that must stay free on the disk."""
_INTERVAL = 0.2
"""Seconds between two reports of progress."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Bytes that are here, of all there are to fetch."""

    done: int
    total: int


class Doing(msgspec.Struct, frozen=True, tag=True):
    """What is done where that is not fetching, as a sentence; empty: fetching goes on."""

    sentence: str


class Done(msgspec.Struct, frozen=True, tag=True):
    path: str


# --- the side that asks ---------------------------------------------------------------------------


async def fetch(
    repo: str,
    models: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    revision: str = "main",
    doing: Callable[[str], None] = lambda sentence: None,
    agreed: bool = False,
) -> Path:
    """Fetch `repo` ("organisation/name") into a folder below `models`, Quietly's own by default; the model's path.

    Cancelling the task kills the process at once; what has come stays, and the next try goes on there, with the commit
    that `revision` meant when it was begun. `progress` gets bytes done and bytes in all, `doing` a sentence while
    something else is done than fetching. Unagreed where the licence restricts the use of the model and was not
    `agreed` to; once a download is begun, it was. QuietlyError, in one sentence, for everything else that can go wrong.
    """
    if not REPO.fullmatch(repo):
        raise QuietlyError(f"{repo[:80]!r} names no model on the Hub: write organisation/name.")
    try:
        folder = private_folder(models or paths().models)
    except OSError as error:
        raise QuietlyError(f"{error.filename} cannot be made ({error.strerror}): free that place.") from None
    arguments, kinds = (repo, revision, str(folder), "agreed" if agreed else ""), (Progress, Doing, Done, Terms)
    what = f"The download of {repo}"
    async with speaking("app.library.download", arguments, *kinds, what=what, online=True) as said:
        async for message in said:
            match message:
                case Progress():
                    progress(message.done, message.total)
                case Doing():
                    doing(message.sentence)
                case Done():
                    return Path(message.path)
                case Terms():
                    raise Unagreed(repo, message)
    raise QuietlyError(f"{what} ended early: get it again to go on.")


# --- the process that fetches ---------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Fetch, reporting on standard output in JSON lines. Ends when standard input does."""
    repo, revision, models, agreed = arguments

    def work(say: Say) -> None:
        tell_connections(say, "download", f"download of {repo}")
        traffic = Traffic()
        try:
            path = bring(Repository(Path(models), repo), revision, say, traffic, agreed=bool(agreed))
        except Unagreed as unagreed:
            return say(unagreed.terms)
        finally:
            traffic.tell()
        return say(Done(str(path)))

    serve(work, lambda error: why(error, repo))


def bring(repository: Repository, revision: str, say: Say, traffic: Traffic, agreed: bool = False) -> Path:
    """Fetch what is missing of the repository, and the whole of it if need be; the model's folder.

    Raises what the Hub's client, the reader and the disk raise: see `why`. `agreed`, and Unagreed, as in `fetch`.
    """
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    traffic.count()
    # Named here: the client looks at the environment only once, when it is first imported.
    endpoint = os.environ.get("HF_ENDPOINT") or None
    with repository.alone():
        record = repository.record
        if record is None or record.complete or (record.repo, record.revision) != (repository.repo, revision):
            record, conditions = _ask(repository.repo, revision, endpoint)
            if path := repository.standing(record.commit, record.files):
                return path
            if conditions is not None and not agreed:
                raise Unagreed(repository.repo, conditions)
        repository.begin(record)
        _make_sure_of_room(repository, record)

        def refuse(answer: Any) -> None:
            if answer.status_code == 404 and answer.headers.get("x-error-code") != "RepoNotFound":
                raise QuietlyError(
                    f"The Hub no longer has {record.repo} as it was when it was begun: cancel it, then get it anew."
                )
            hf_raise_for_status(answer)

        reader = Reader(get_session(), build_hf_headers(), record.repo, refuse, lambda sentence: say(Doing(sentence)))
        with _reporting(repository, record, say, traffic):
            for file in record.blobs:
                blob, part = repository.blob(file), repository.part(file)
                if blob.is_file() and blob.stat().st_size == file.size:
                    continue
                reader.fetch(hf_hub_url(record.repo, file.name, revision=record.commit, endpoint=endpoint), file, part)
                part.replace(blob)
        say(Progress(record.total, record.total))
        return repository.finish(record)


def _ask(repo: str, revision: str, endpoint: str | None) -> tuple[Record, Terms | None]:
    """The commit that `revision` means now, and the files of it that we read; and what is to be agreed to before."""
    from huggingface_hub import HfApi

    info: Any = HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    listed = [
        File(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "", "" if one.lfs else one.blob_id or "")
        for one in info.siblings or ()
    ]
    files = wanted(repo, listed)
    names = {file.name.casefold() for file in files}  # many disks see no difference in case
    if not _COMMIT.fullmatch(str(info.sha)) or not all(file.is_sound for file in files) or len(names) < len(files):
        raise QuietlyError(f"The list of files that came for {repo} makes no sense: check HF_ENDPOINT.")
    record = Record(repo, revision, info.sha, tuple(sorted(files, key=lambda file: (file.size, file.name))))
    return record, _conditions(info)


def _conditions(info: Any) -> Terms | None:
    """What the licence restricts, by all that the Hub says of it: the card's name for it, its tag, the architecture."""
    card, kind = info.card_data, (info.config or {}).get("model_type")
    named = [getattr(card, key, None) for key in ("license_name", "license")]
    named += [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
    said = [terms(one[:200], kind) for one in named if isinstance(one, str)]
    return next(filter(None, said), None) or terms(None, kind)


_READ = re.compile(
    r".+\.(safetensors|json|jinja|tiktoken)|tokenizer\.model|(rwkv_vocab_v20230424|vocab|merges)\.txt"
    r"|README\.md|LICEN[SC]E.*"
)


def wanted(repo: str, files: Sequence[File]) -> list[File]:
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


def _make_sure_of_room(repository: Repository, record: Record) -> None:
    """QuietlyError where the disk has no room for what is still missing."""
    needed = record.total - here(repository.folder, record)
    if needed > 0 and (free := shutil.disk_usage(repository.folder).free) < needed + MARGIN:
        raise QuietlyError(
            f"{record.repo} needs {size(needed)} more on the disk, {size(free)} are free: make room first."
        )


@contextlib.contextmanager
def _reporting(repository: Repository, record: Record, say: Say, traffic: Traffic) -> Iterator[None]:
    over = threading.Event()

    def report() -> None:
        while True:
            say(Progress(here(repository.folder, record), record.total))
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


# --- what went wrong ------------------------------------------------------------------------------


def why(error: BaseException, repo: str) -> str:
    """What the client, the reader or the disk raised, as the sentence a person needs."""
    chain = list(causes(error))
    where = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "the Hub"
    for one in chain:
        if sentence := _of_the_hub(one, repo, where) or _of_the_disk(one, repo):
            return sentence
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return f"The certificate of {where} is not trusted here: name your network's in SSL_CERT_FILE, then try again."
    if any(of_network(one) for one in chain):
        return f"{where} cannot be reached: check the connection, then get {repo} again to go on."
    if isinstance(error, Broken):
        pause = error.pause or 0
        if pause > LONGEST_PAUSE:
            return f"{where} asks for a pause of {-(-pause // 60):.0f} minutes: get {repo} again after it, to go on."
        return f"{repo} did not come whole, {error}: get it again to go on where it stopped."
    return f"{repo} was not fetched ({type(error).__name__}): the log has more, {paths().logs / 'download.log'}."


def _of_the_hub(error: BaseException, repo: str, where: str) -> str:
    """The sentence for a refusal by the Hub; empty where it is none."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                f"{repo} is gated: accept its conditions on its page at {where}, "
                "set HF_TOKEN to a token of yours, then get it again."
            )
        case errors.RevisionNotFoundError():
            return f"{repo} has no such revision: leave it out to get the newest."
        case errors.RepositoryNotFoundError():
            return f"There is no {repo} at {where}, or it is private: check the name, or set HF_TOKEN to see it."
        case errors.OfflineModeIsEnabled():
            return f"{repo} was not fetched, HF_HUB_OFFLINE is set: unset it, then try again."
        case errors.HfHubHTTPError():
            status = getattr(error.response, "status_code", None)
            if status in (401, 403):
                return f"{where} refused {repo} ({status}): set HF_TOKEN to a token that may read it."
            if status == 429:
                return f"{where} asks for a pause, too many requests (429): get {repo} again in a few minutes."
            return f"{where} answered {status} for {repo}: get it again later to go on where it stopped."
    return ""


def _of_the_disk(error: BaseException, repo: str) -> str:
    """The sentence for what the disk did not take; empty where it is not that."""
    match error:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return f"The disk is full: make room, then get {repo} again to go on where it stopped."
        case OSError(errno=errno.EFBIG):
            return f"The disk takes no file as large as one of {repo}: put Quietly's models on another one."
        case PermissionError():
            return f"{error.filename} may not be written: check who owns Quietly's models folder."
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
