"""A token's text and bytes so that everything in them is seen. Tokens are hostile: what acts on a terminal is named."""

import re
import unicodedata

from rich.cells import cell_len

from app.chat.text import visible

_STRAY = re.compile("([\udc80-\udcff])")


def spelled(text: str, space: str = "␣") -> str:
    """A token's text so that all of it is seen, the controls it may hold by their numbers; ∅ where it has none."""
    if not text:
        return "∅"
    if text.isascii() and text.isprintable():
        return text.replace(" ", space)
    return "".join([_spelled(place, character, space) for place, character in enumerate(text)])


def spelled_bytes(spelling: bytes) -> str:
    """The text of a token's bytes; those that are no whole character as hexadecimal numbers."""
    # Python keeps such a byte as half of a surrogate pair, which no real text has.
    parts = _STRAY.split(spelling.decode(errors="surrogateescape"))
    return "".join(
        [f"‹{ord(part) - 0xDC00:02X}›" if _STRAY.fullmatch(part) else spelled(part) for part in parts if part]
    )


def _spelled(place: int, character: str, space: str) -> str:
    match character:
        case " ":
            return space
        case "\n":
            return "↵"
        case "\t":
            return "⇥"
    number = f"‹{ord(character):04X}›"
    # A joiner would weld two tokens into one sign, and a space of another kind is told from none.
    if character == "\u200d" or character.isspace() or not visible(character):
        return number
    if place == 0 and unicodedata.category(character) in ("Mn", "Mc", "Me"):
        # It would sit on the letter of the token before.
        return number if "\ufe00" <= character <= "\ufe0f" else f"◌{character}"
    # What takes no cell (the colour of an emoji's skin, the vowel of a Korean syllable) belongs to what is before it.
    return visible(character) if place or cell_len(character) else number
