"""Text that a template carries and the tokenizer must not read, hidden while the template is rendered.

It knows no tokenizer and no template: it hides, marks and finds again.
"""

import re
import secrets
from collections.abc import Iterator


class Placeholders:
    """Placeholders for text that a template carries and the tokenizer must not read; marks around answers.

    Each begins with 96 random bits, drawn for one prompt, so that nothing in a conversation or a template
    can hold one; digits and private-use characters, so that changing case or trimming leaves it alone.
    """

    def __init__(self) -> None:
        self._key = f"{secrets.randbits(96):029d}"
        self.gap = f"\ue005{self._key}\ue006"
        """Where words are left out."""
        self._literals: list[str] = []
        self._placeholder = re.compile(f"\ue000{self._key}:(\\d+)\ue001")
        self._mark = re.compile(f"\ue002{self._key}:(\\d+)\ue003(.*?)\ue004{self._key}:\\1\ue003", re.DOTALL)
        self._any_mark = re.compile(f"[\ue002\ue004]{self._key}:\\d+\ue003")

    def hide(self, literal: str) -> str:
        self._literals.append(literal)
        return f"\ue000{self._key}:{len(self._literals) - 1}\ue001"

    def mark(self, index: int, content: str) -> str:
        return f"\ue002{self._key}:{index}\ue003{content}\ue004{self._key}:{index}\ue003"

    def without_marks(self, text: str) -> str:
        return self._any_mark.sub("", text)

    def marked(self, text: str) -> Iterator[tuple[str, int | None, str]]:
        """(text before, index, answer) for each marked answer, then the rest, without one."""
        at = 0
        for found in self._mark.finditer(text):
            yield self.without_marks(text[at : found.start()]), int(found[1]), self.without_marks(found[2])
            at = found.end()
        yield self.without_marks(text[at:]), None, ""

    def pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """(text before, hidden literal) for each placeholder, then the rest with an empty one."""
        at = 0
        for found in self._placeholder.finditer(text):
            yield text[at : found.start()], self._literals[int(found[1])]
            at = found.end()
        yield text[at:], ""
