"""What the readers of other programs' exports share: values that may be anything, fences, and the tree of messages.

Such files follow descriptions that others wrote down, not a contract: whatever a value turns out to be, it is taken
where it makes sense and left where it does not. Knows no program's format.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from app.carrying.tale import said
from app.chat.records import Message, Role, Status, TitledBy
from app.chat.text import fence_for, one_line, storable
from app.errors import QuietlyError

LARGEST = 64 << 20
"""Bytes of the longest conversation that is read: as Python's objects it takes several times as much memory."""
MOST = 200_000
"""Messages of the longest conversation that is read, empty and hidden ones counted."""

# Every escape, so that a backslash that is escaped itself begins none.
_ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})|(?P<half>u[dD][89a-fA-F][\da-fA-F]{2})|.)",
    re.DOTALL,
)
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")


class Piece(msgspec.Struct):
    """What one of a file's messages says; an answer may take several, which become one message."""

    role: Role
    content: str = ""
    reasoning: str = ""
    model: str | None = None
    created: float | None = None
    status: Status = "complete"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_seconds: float | None = None
    decode_seconds: float | None = None


class Node(msgspec.Struct, frozen=True):
    """A place in a file's tree; `piece` is None where nothing stands that people see."""

    parent: str | None
    piece: Piece | None


class _Growing:
    """A message while its pieces are put together."""

    def __init__(self, piece: Piece, parent: int | None, created: float) -> None:
        self.first = piece
        self.parent = parent
        self.created = created
        self.pieces = [piece]

    def message(self, identity: int) -> Message:
        last = self.pieces[-1]
        message = said(
            identity,
            self.parent,
            self.first.role,
            "\n\n".join(filter(None, (piece.content for piece in self.pieces))),
            self.created,
            reasoning="\n\n".join(filter(None, (piece.reasoning for piece in self.pieces))),
            model=next((piece.model for piece in self.pieces if piece.model), None),
            status=last.status,
        )
        if len(self.pieces) > 1:
            return message  # what was measured of one piece says nothing of the whole
        return msgspec.structs.replace(
            message,
            prompt_tokens=last.prompt_tokens,
            completion_tokens=last.completion_tokens,
            first_token_seconds=last.first_token_seconds,
            decode_seconds=last.decode_seconds,
        )


def grown(nodes: Mapping[str, Node], current: str | None, created: float) -> tuple[list[Message], int | None]:
    """The messages of a tree, the oldest first, with ids for `numbered`, and the id of the one at `current`.

    What follows nothing that is there, or itself by way of others, opens the conversation. Pieces of an answer become
    one message, because a question is answered once; where they fork they stand beside each other. A message without
    a time has that of what it follows, at last `created`. Where `current` leads to no message the id is the last's.
    """
    following: dict[str | None, list[str]] = {}
    for key, node in nodes.items():
        following.setdefault(node.parent if node.parent in nodes else None, []).append(key)
    messages: list[_Growing] = []
    places: dict[str, int | None] = {}
    # First from what opens the conversation; what is left then goes round in circles, and is cut at its first.
    for start in [*following.get(None, ()), *nodes]:
        waiting: list[tuple[str, int | None, bool]] = [(start, None, False)]
        while waiting:
            key, above, alone = waiting.pop()
            if key in places:
                continue
            piece = nodes[key].piece
            if piece:
                above = _placed(messages, piece, above, alone, created)
            places[key] = above
            onward = following.get(key, ())
            only = len(onward) == 1 and (alone or piece is not None)
            waiting += [(each, above, only) for each in reversed(onward)]
    # Ids follow age, and a parent is never younger than its child: both hold once the times do.
    order = sorted(range(len(messages)), key=lambda place: (messages[place].created, place))
    head = places.get(current) if current is not None else None
    if head is None and order:
        head = order[-1]
    return [messages[place].message(place) for place in order], head


def _placed(messages: list[_Growing], piece: Piece, above: int | None, alone: bool, created: float) -> int:
    """Put `piece` after the message `above`, or into it; returns the place of the message in which it stands now."""
    before = None if above is None else messages[above]
    parent = above
    if piece.role == "assistant" and before and before.first.role == "assistant":
        if alone:
            before.pieces.append(piece)
            assert above is not None
            return above
        parent = before.parent
    least = created if before is None else before.created
    own = least if piece.created is None else piece.created
    # Exports know times that are older than the conversation's own; only what follows is never older.
    messages.append(_Growing(piece, parent, own if before is None else max(own, least)))
    return len(messages) - 1


# --- values that may be anything --------------------------------------------------------------------------


def mended(data: bytes) -> bytes:
    """JSON in which halves of surrogate pairs, as some programs write them, have become the replacement character."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return _ESCAPE.sub(lambda found: rb"\ufffd" if found["half"] else found[0], data)
    return data


def parsed(data: bytes | msgspec.Raw, what: str) -> dict[str, object]:
    """The JSON object in `data`. QuietlyError says of `what` that it is none, too large, or damaged."""
    size = memoryview(data).nbytes
    if size > LARGEST:
        raise QuietlyError(f"{what} has {size >> 20:,} MB; Quietly reads conversations of up to {LARGEST >> 20} MB.")
    try:
        found = json.loads(bytes(data))
    except RecursionError:
        raise QuietlyError(f"{what} is nested too deep to be a conversation; export it again.") from None
    except ValueError:
        raise QuietlyError(f"{what} is damaged; export it again.") from None
    if not isinstance(found, dict):
        raise QuietlyError(f"{what} is no conversation; choose the file that was exported.")
    return found


def an_object(value: object) -> dict[str, object]:
    """`value` where it is an object; else an empty one."""
    return value if isinstance(value, dict) else {}


def a_list(value: object) -> list[object]:
    """`value` where it is a list; else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """`value` where it is text, made storable; else none."""
    return storable(value) if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """`value` where it is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if value >= 0 and math.isfinite(value) else None
    except OverflowError:  # a whole number that no float can be
        return None


def count(value: object) -> int | None:
    """`value` where it is a whole number that can be one of tokens."""
    found = number(value)
    return int(found) if found is not None and found == int(found) and found < 1 << 53 else None


def titled(title: object, messages: Sequence[Message]) -> tuple[str, TitledBy]:
    """A conversation's title and whose it is; one without has the first line that was said."""
    given = one_line(text(title), 1_000)
    return (given, "person") if given else (next(filter(None, (one_line(one.content) for one in messages)), ""), "line")


def within(words: Iterable[str]) -> str:
    """`words` that are there, as paragraphs."""
    return "\n\n".join(filter(None, words))


def fenced(code: str, language: str = "") -> str:
    """`code` as a block of Markdown, between fences longer than any inside."""
    if not code.strip():
        return ""
    fence = fence_for(code)
    info = language if _LANGUAGE.fullmatch(language) and language != "unknown" else ""
    end = "" if code.endswith("\n") else "\n"
    return f"{fence}{info}\n{code}{end}{fence}"


def elsewhere(kind: str, name: str, program: str) -> str:
    """The sentence in the place of what stands in another file than the conversation."""
    called = one_line(name, 100)
    return f"(Here was {kind}{f' “{called}”' if called else ''}, which {program} keeps in another file.)"
