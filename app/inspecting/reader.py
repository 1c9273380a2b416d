"""The far side of looking into a model: `python -m app.inspecting.reader` answers, line by line, in JSON.

A vocabulary takes a hundred megabytes to read, and a stranger made it: both stay in this process, which opens no
connection and ends with its input.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.closed import refuse_connections
from app.errors import QuietlyError
from app.inspecting.told import Section
from app.inspecting.vocabulary import Piece, open_tokenizer, spell, spell_word

if TYPE_CHECKING:
    from model.tokenizer import Tokenizer


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """What is there to know about a model? Answered by Told."""

    reference: str
    folders: tuple[str, ...]
    context: int | None = None


class Spell(msgspec.Struct, frozen=True, tag=True):
    """Which tokens is this text, and are these words? Answered by Spelled."""

    reference: str
    folders: tuple[str, ...]
    text: str
    words: tuple[str, ...] = ()


class Told(msgspec.Struct, frozen=True, tag=True):
    """All of it, in sections."""

    sections: tuple[Section, ...]
    has_tokenizer: bool


class Spelled(msgspec.Struct, frozen=True, tag=True):
    """The tokens."""

    pieces: tuple[Piece, ...]
    words: tuple[tuple[Piece, ...], ...]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The sentence that says why not."""

    sentence: str


Question = Inspect | Spell
Reply = Told | Spelled | Refused

LONGEST = 1 << 26
"""Bytes of a line that the near side takes."""
_decode = msgspec.json.Decoder(Question).decode


class _Reader:
    """Answers, and keeps the tokenizer that it was last asked about."""

    def __init__(self) -> None:
        self._asked: tuple[str, tuple[str, ...]] | None = None
        self._tokenizer: Tokenizer | str = ""

    def answer(self, question: Question) -> Reply:
        try:
            return self._told(question) if isinstance(question, Inspect) else self._spelled(question)
        except QuietlyError as error:
            return Refused(str(error))

    def _told(self, question: Inspect) -> Told:
        from app.inspecting.figures import sections
        from app.inspecting.reading import inspect

        told = inspect(question.reference, question.context, map(Path, question.folders))
        self._asked, self._tokenizer = (question.reference, question.folders), told.tokenizer
        return Told(tuple(sections(told)), not isinstance(told.tokenizer, str))

    def _spelled(self, question: Spell) -> Spelled:
        if self._asked != (question.reference, question.folders):
            from app.inspecting.reading import located

            name, path = located(question.reference, map(Path, question.folders))
            self._tokenizer = open_tokenizer(path, name)
            self._asked = (question.reference, question.folders)
        if isinstance(self._tokenizer, str):
            raise QuietlyError(self._tokenizer)
        tokenizer = self._tokenizer
        return Spelled(spell(tokenizer, question.text), tuple(spell_word(tokenizer, word) for word in question.words))


def line_of(reply: Reply) -> bytes:
    """An answer as it is sent; a refusal where that would be too long."""
    line = msgspec.json.encode(reply) + b"\n"
    return line if len(line) <= LONGEST else line_of(Refused("There is too much to show; make the text shorter."))


def main() -> None:
    refuse_connections()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    reader = _Reader()
    for line in sys.stdin.buffer:
        answers.write(line_of(reader.answer(_decode(line))))


if __name__ == "__main__":
    main()
