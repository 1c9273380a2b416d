"""Text made safe: to show in a terminal, to put on one line, to quote in Markdown, to store.

Everything that people or models wrote is data. What could move the cursor, turn the direction of writing or
hide in the text is taken out where it is shown, one code point at a time and without memory, so that it makes
no difference where a stream of text was cut. Knows neither the screen nor the store.
"""

import re
import unicodedata

# A carriage return goes with them: before a line feed it says nothing, and alone it would overwrite a line.
_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0d-\x1f\x7f"  # C0 but tab and line feed, DEL
    "\x80-\x84\x86-\x9f"  # C1
    "\xad\u061c\u180e\u200b\u200e\u200f"  # soft hyphen, direction marks, zero width spaces
    "\u202a-\u202e\u2060-\u206f"  # direction embeddings, overrides and isolates; invisible operators
    "\ufeff\ufff9-\ufffb"  # byte order mark, interlinear annotation
    "\U000e0000-\U000e007f"  # tags
    "]+"
)
_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_TICKS = re.compile("`+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_ASCII = dict.fromkeys((*range(0x09), *range(0x0D, 0x20), 0x7F)) | {0x0B: "\n", 0x0C: "\n"}

JOINERS = ("\u200c", "\u200d")
"""Signs that only join or part those beside them: people write Persian and put emoji together with them."""


def visible(text: str) -> str:
    """`text` without what acts on a terminal instead of being seen; joiners and emoji selectors stay.

    Line ends of other kinds become line feeds, halves of surrogate pairs the replacement character.
    """
    if text.isascii():
        return text.translate(_ASCII)
    return _SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", _HIDDEN.sub("", text)))


def unbroken(text: str) -> str:
    """A sentence safe to show and on one line, whatever the names in it hold."""
    return visible(text).replace("\n", " ")


def storable(text: str) -> str:
    """`text` as valid Unicode: surrogate pairs joined, lone halves replaced; everything else as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def one_line(text: str, width: int = 60) -> str:
    """The first line of `text` that is not blank, safe to show, in at most `width` terminal cells."""
    # Enough for any width: what lies behind is neither shown nor worth the time.
    for line in visible(text[: 64 * 1024]).split("\n"):
        if words := line.split():
            return _cut(" ".join(words), width)
    return ""


def fence_for(text: str) -> str:
    """Backticks that fence `text` in Markdown: more than stand in a row anywhere in it."""
    return "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))


def _cut(line: str, width: int) -> str:
    used = 0
    kept = 0  # how much of the line fits while leaving a cell for the ellipsis
    for index, character in enumerate(line):
        used += _cells(character)
        if used > width:
            return line[:kept].rstrip("\u200d ") + "…" if width > 0 else ""
        if used < width:
            kept = index + 1
    return line


def _cells(character: str) -> int:
    """Terminal cells of one code point; never too few, so that a cut line always fits."""
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 1 if character == "\ufe0f" else 0  # the emoji selector can turn a narrow sign into a wide one
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
