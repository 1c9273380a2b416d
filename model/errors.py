"""What the library raises when a checkpoint or a request cannot be served."""

from typing import Literal

ErrorKind = Literal["checkpoint", "unsupported", "template", "context", "request"]
"""Lets a caller react without reading the sentence: a file is missing, damaged or lying; well formed, but not something
that is run here; the chat template failed; the prompt is longer than the context; the caller's arguments are wrong."""


class ModelError(Exception):
    """One clear sentence: what was wrong with which input, and the way out."""

    def __init__(self, sentence: str, kind: ErrorKind = "checkpoint") -> None:
        super().__init__(sentence)
        self.kind: ErrorKind = kind


def one_line(text: str, most: int = 120) -> str:
    """A stranger's words as part of our sentence: printable, on one line, and `most` characters at most."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[:1000]).split())
    return clean if len(clean) <= most else clean[: most - 1] + "…"
