"""The messages of a transcript and their heights: which there are, where each stands, which are kept rendered.

A height is an estimate until its message was first rendered, then exact. Knows nothing of scrolling and no
widget; width and palette are told.
"""

from collections import OrderedDict
from collections.abc import Iterable

from rich.style import Style

from app.tui.widgets.heights import Heights
from app.tui.widgets.message import Entry, Rendered, estimate
from app.tui.widgets.shown import Shown

KEPT_ROWS = 6_000
"""Rendered rows kept beyond those in sight: some 200 messages, a few megabytes."""


class Pages:
    """The messages from first to last; `sweep` is how many of them, from the first on, may need measuring."""

    def __init__(self) -> None:
        self.messages: list[Shown] = []
        self.heights = Heights()
        self.width = 0
        self.palette: dict[str, Style] = {}
        self.serial = 0
        """The highest serial number given so far; they ascend with the messages and are never used again."""
        self.sweep = 0
        self.unfolded = False
        """Whether the reasoning of messages is shown whole, until a person folds it."""
        self._by_key: dict[int, Shown] = {}
        self._kept: OrderedDict[int, Shown] = OrderedDict()

    def __len__(self) -> int:
        return len(self.messages)

    def get(self, key: int) -> Shown | None:
        return self._by_key.get(key)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Other messages in place of all. Those at the beginning that are the same ones stay as they are, rendered and
        measured: of a long conversation mostly the end changes."""
        wanted = list(entries)
        same = next(
            (
                index
                for index, (message, entry) in enumerate(zip(self.messages, wanted, strict=False))
                if message.streaming or message.entry != entry
            ),
            min(len(self.messages), len(wanted)),
        )
        for gone in self.messages[same:]:
            self._kept.pop(gone.serial, None)
        fresh = [self._new(entry) for entry in wanted[same:]]
        self.messages[same:] = fresh
        self._by_key = {message.entry.key: message for message in self.messages}
        self.heights.replace(
            [
                *(self.heights[index] for index in range(same)),
                *(estimate(message.entry, self.width, message.unfolded) for message in fresh),
            ]
        )
        self.sweep = len(self.messages)

    def add(self, entry: Entry) -> None:
        message = self._new(entry)
        self.messages.append(message)
        self._by_key[entry.key] = message
        self.heights.append(estimate(entry, self.width, message.unfolded))
        self.sweep = len(self.messages)

    def remove(self, message: Shown) -> int:
        """Take a message away; returns where it stood."""
        index = self.index(message)
        del self._by_key[message.entry.key]
        self._drop(message)
        del self.messages[index]
        self.heights.remove(index)
        self.sweep = min(self.sweep, len(self.messages))
        return index

    def index(self, message: Shown) -> int:
        """Where a message stands."""
        # Serial numbers ascend, and mostly the message asked for is the last.
        low, high = 0, len(self.messages) - 1
        if high >= 0 and self.messages[high] is message:
            return high
        while low < high:
            middle = (low + high) // 2
            if self.messages[middle].serial < message.serial:
                low = middle + 1
            else:
                high = middle
        return low

    def rows(self, message: Shown) -> Rendered:
        """The message rendered, from what is kept or anew."""
        self.keep(message)
        if message.rendered is None:
            message.rendered = message.render(self.width, self.palette)
        return message.rendered

    def plain(self, message: Shown) -> Rendered:
        """The message rendered for its text alone, without colours and without being kept."""
        return message.rendered or message.render(self.width, self.palette, colours=False)

    def keep(self, message: Shown) -> None:
        self._kept[message.serial] = message
        self._kept.move_to_end(message.serial)

    def measure(self, index: int) -> int:
        """The exact height of a message, by rendering it where that was not done yet."""
        message = self.messages[index]
        if not message.exact or message.rendered is None:
            self.measured(index, self.rows(message))
        return self.heights[index]

    def measured(self, index: int, rendered: Rendered) -> None:
        """Note the height of a message that was just rendered."""
        self.heights[index] = len(rendered.rows)
        self.messages[index].exact = True

    def forget(self, message: Shown) -> None:
        """The message must be rendered again."""
        self._drop(message)
        message.exact = False
        self.sweep = max(self.sweep, self.index(message) + 1)

    def unfold(self, unfolded: bool) -> None:
        """Show the reasoning of every message whole, or fold it, and that of those to come."""
        self.unfolded = unfolded
        for message in self.messages:
            if message.unfolded != unfolded:
                message.unfolded = unfolded
                if message.entry.reasoning:
                    self.forget(message)

    def forget_rows(self) -> None:
        """Every message must be rendered again."""
        for message in self.messages:
            message.forget()
        self._kept.clear()

    def estimate(self) -> None:
        """Guess every height."""
        for message in self.messages:
            message.exact = False
        self.heights.replace([estimate(m.entry, self.width, m.unfolded) for m in self.messages])
        self.sweep = len(self.messages)

    def trim(self) -> None:
        """Forget the rows least recently in sight, past `KEPT_ROWS`."""
        rows = sum(len(message.rendered.rows) for message in self._kept.values() if message.rendered)
        while rows > KEPT_ROWS and len(self._kept) > 1:
            _, message = self._kept.popitem(last=False)
            if message.rendered:
                rows -= len(message.rendered.rows)
                message.rendered = None

    def _new(self, entry: Entry) -> Shown:
        self.serial += 1
        return Shown(entry, self.serial, self.unfolded)

    def _drop(self, message: Shown) -> None:
        message.forget()
        self._kept.pop(message.serial, None)
