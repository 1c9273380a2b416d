"""What may be typed instead of a question, as one table: /help is read from it, and what is done is found by it.

Where the window has the same, it has the same name.
"""

from typing import NamedTuple


class Command(NamedTuple):
    typed: str
    argument: str
    """What may follow, as /help names it; empty where nothing may."""
    says: str


COMMANDS = (
    Command("/help", "", "what can be typed"),
    Command("/new", "", "begin another conversation"),
    Command("/temporary", "", "begin one that is never written to disk"),
    Command("/open", "number", "go to a conversation; without a number, list them"),
    Command("/search", "words", "find words in all conversations"),
    Command("/read", "count", "read this conversation, or its last messages"),
    Command("/paste", "", "write several lines; a line with a single dot sends them"),
    Command("/attach", "path", "let a file go along with what you ask next"),
    Command("/again", "", "another answer to the last question"),
    Command("/edit", "text", "ask the last question in other words, as a branch"),
    Command("/continue", "", "let the last answer go on where it ended"),
    Command("/branch", "message", "let what you ask next follow this message"),
    Command("/versions", "message version", "which messages have versions, and going to one"),
    Command("/model", "name", "which models there are, and which answers next"),
    Command("/system", "name", "what the model is told before the first message"),
    Command("/preset", "name", "take over a model, system prompt and settings"),
    Command("/tune", "setting value", "how this conversation is answered"),
    Command("/rename", "title", "give this conversation another title"),
    Command("/export", "format", "write this conversation to a file: markdown, json or html"),
    Command("/import", "path", "take in what Quietly, ChatGPT or LM Studio has exported"),
    Command("/delete", "", "delete this conversation for good"),
    Command("/connections", "", "whom Quietly spoke to"),
    Command("/quit", "", "everything is stored already"),
)
NAMES = frozenset(command.typed for command in COMMANDS)


def command(text: str) -> tuple[str, str] | None:
    """The command that was typed, and what stands behind it; None where `text` is to be asked."""
    word, _, argument = text.strip().partition(" ")
    return (word, argument.strip()) if word in NAMES and "\n" not in text.strip() else None


def mistyped(text: str) -> bool:
    """Whether `text` looks like a command that there is not."""
    word = text.strip()
    return not text.startswith(" ") and word[:1] == "/" and word[1:].replace("-", "").isalpha() and word not in NAMES
