"""`quietly search`, `export`, `import` and `delete`: what people wrote found again, carried out and in, and gone."""

import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from app import kept
from app.carrying.tale import Branches, Format, Tale
from app.chat.failures import explaining
from app.chat.store import Conversation, Store
from app.chat.text import one_line, visible
from app.cli.shared import Progress, named, opened, print_json, settings_in_force, tell
from app.errors import QuietlyError
from app.settings import paths

if TYPE_CHECKING:
    from app.chat.search import Hit, Query

_BOLD, _USUAL = "\x1b[1m", "\x1b[22m"
_SURE = "delete"
"""What is typed by someone who means it."""
_AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


# --- search ---------------------------------------------------------------------------------------------------------


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORDS",
            help="What was said: words that are all wanted, '\"a phrase\"', and behind -- also -without.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="Part of the name of the model that answered.")] = "",
    after: Annotated[
        str, typer.Option(metavar="DAY", help="From this day on: 2026-01-31, 2026-01, today or yesterday.")
    ] = "",
    before: Annotated[str, typer.Option(metavar="DAY", help="Before this day.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="How many places at most.")] = 20,
    as_json: _AsJson = False,
) -> None:
    """Find conversations and messages by what was said in them. The best come first."""
    from app.chat.search import Search

    query = _query(" ".join(words or []), model, after, before)
    with opened() as store:
        _catch_up(store)
    finder = Search.open(paths().database)
    try:
        found = finder.find(query, limit)
    finally:
        finder.close()
    if as_json:
        print_json(found)
        return
    for hit in found.hits:
        print(_told(hit))
    if not found.hits:
        tell("Nothing was found.")
    elif found.more:
        tell(f"There is more: --limit {2 * limit} shows it.")


def _query(typed: str, model: str, after: str, before: str) -> "Query":
    """What is looked for. QuietlyError where it is nothing, or a day is none."""
    from app.chat.search import Query, parse

    today = date.today()
    query = parse(typed, today)
    since, until = (parse(f"after:{day} ", today).since if day else None for day in (after, before))
    for option, day, moment in (("--after", after, since), ("--before", before, until)):
        if day and moment is None:
            raise QuietlyError(
                f"{option} must be a day, as 2026-01-31, 2026-01, 2026, today or yesterday, not {one_line(day)}."
            )
    query = replace(
        query,
        model=model or query.model,
        since=query.since if since is None else since,
        until=query.until if until is None else until,
        unfinished=False,
    )
    if query == Query():
        raise QuietlyError("Nothing was looked for: write `quietly search WORDS`, or name a day or a model.")
    return query


def _catch_up(store: Store) -> None:
    """Take what was said since into the index."""
    with Progress("Messages still to be indexed:") as progress:
        while waiting := store.catch_up():
            progress(waiting, 0)


def _told(hit: "Hit") -> str:
    """A hit as two lines: where it is, and what stands there."""
    who = {"user": "you", "assistant": one_line(hit.model or "answer", 40), None: ""}[hit.role]
    place = f"conversation {hit.conversation}" + (f", message {hit.message}, {who}" if hit.message else "")
    day = f"{datetime.fromtimestamp(hit.created):%Y-%m-%d}"
    lines = [f"{named(hit.title)}  ({day}, {place})"]
    if hit.message is not None:
        where = "" if hit.where == "content" else f"[{hit.where}] "
        lines.append(f"    {where}{_marked(hit.snippet, hit.marks)}")
    return "\n".join(lines)


def _marked(snippet: str, marks: Sequence[tuple[int, int]]) -> str:
    """A snippet, with what was looked for in bold on a terminal."""
    if not sys.stdout.isatty():
        return snippet
    pieces, at = [], 0
    for start, end in marks:
        pieces += [snippet[at:start], _BOLD, snippet[start:end], _USUAL]
        at = end
    return "".join([*pieces, snippet[at:]])


# --- export ---------------------------------------------------------------------------------------------------------


def export(
    conversations: Annotated[
        list[int] | None,
        typer.Argument(metavar="NUMBER", help="Their numbers; without any, the latest. `--list` shows them."),
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All conversations.")] = False,
    folder: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="The folder to write into; usually the one that is set, else this one.",
        ),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="What to write; usually what is set.")] = None,
    branches: Annotated[Branches, typer.Option(help="The branch in use, or all that was ever said.")] = "current",
    listing: Annotated[bool, typer.Option("--list", help="List the conversations and their numbers.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Write conversations as Markdown, JSON or HTML, a file each. Existing files are never overwritten."""
    from app.carrying import export

    if conversations and (all_of_them or listing):
        raise QuietlyError("--all and --list are about every conversation: leave them out, or the numbers.")
    if folder == "":
        raise QuietlyError("An empty name is no folder: name where to write, or leave --output out.")
    settings = settings_in_force()
    with opened() as store:
        if listing:
            _list(store.conversations(), as_json)
            return
        chosen = _chosen(store, conversations or [], all_of_them)
        if folder is not None:
            into = Path(folder)
            with explaining(into):
                into.mkdir(parents=True, exist_ok=True)
        else:
            from app.exporting import export_folder

            into = export_folder(settings) if settings.export_folder else Path()
        with Progress("Exporting") as progress:
            written = export(store, chosen, into, format or settings.export_format, branches, progress)
    if as_json:
        files = [{"conversation": one, "file": str(file)} for one, file in zip(chosen, written, strict=True)]
        print_json(files)
        return
    for file in written:
        print(visible(str(file)))


def _chosen(store: Store, numbers: Sequence[int], all_of_them: bool) -> list[int]:
    """The conversations to export. QuietlyError where there are none, or a number is none's."""
    if all_of_them:
        found = [record.id for record in store.conversations()]
    elif numbers:
        found = [store.conversation(number).id for number in dict.fromkeys(numbers)]
    else:
        found = [latest.id] if (latest := store.latest()) else []
    if not found:
        raise QuietlyError("There is no conversation to export yet.")
    return found


def _list(conversations: Sequence[Conversation], as_json: bool) -> None:
    if as_json:
        print_json(conversations)
        return
    for each in conversations:
        print(f"{each.id:>6}  {named(each.title)}")


# --- import ---------------------------------------------------------------------------------------------------------


def bring_in(
    files: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="What Quietly, ChatGPT or LM Studio exported: files, folders."),
    ],
    as_json: _AsJson = False,
) -> None:
    """Add exported conversations to yours. What is here already is not added again."""
    from app.carrying import take_in
    from app.words import imported

    if not all(files):
        raise QuietlyError("An empty name is no file: name what is to be imported.")
    refused: list[QuietlyError] = []
    with opened() as store, Progress("Importing") as progress:
        taken = take_in(store, _tales([*map(Path, files)], refused), progress)
    if as_json:
        print_json(taken)
    elif taken.added or taken.already or not refused:
        print(imported(len(taken.added), taken.already))
    for each in refused[:-1]:
        tell(str(each))
    if refused:
        raise refused[-1]


def _tales(files: Sequence[Path], refused: list[QuietlyError]) -> Iterator[Tale]:
    """The conversations in `files`; what is wrong with one of them is put aside, and the others follow."""
    from app.carrying import read

    for file in files:
        try:
            yield from read(file)
        except QuietlyError as error:
            refused.append(error)


# --- delete ---------------------------------------------------------------------------------------------------------


def delete(
    conversation: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Its number; `quietly export --list` shows them.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All conversations, and all that was kept or noted beside them.")
    ] = False,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a conversation, or everything, for good. No word of it stays in the files of Quietly, backups included."""
    from app.erasing import erase_everything, left

    if everything == (conversation is not None):
        raise QuietlyError("Say what to delete: the number of one conversation, or --everything.")
    with opened() as store:
        if conversation is not None:
            title = named(store.conversation(conversation).title)
            _make_sure(sure, f"Conversation {conversation}, “{title}”, with all its messages")
            store.delete(conversation)
            kept.forget(paths().sessions, kept.session_of(conversation))
            print(f"Deleted conversation {conversation}, “{title}”.")
            return
        count = len(store.conversations())
        _make_sure(
            sure, f"{count:,} {'conversation' if count == 1 else 'conversations'} and everything kept beside them"
        )
        erase_everything(paths(), store)
    print("Everything you wrote is deleted. What is left:")
    for one in left(paths()):
        print(f"{visible(str(one.file))}  {one.why}")


def _make_sure(sure: bool, what: str) -> None:
    """Ask, unless the person is sure. QuietlyError where the answer is no, or nobody is there to give one."""
    if sure:
        return
    if not sys.stdin.isatty():
        raise QuietlyError("Nobody can be asked here whether to delete it; say so with --yes.")
    print(f"{what} will be deleted for good. Type {_SURE} to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != _SURE:
        raise QuietlyError("Nothing was deleted.")
