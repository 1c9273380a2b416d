"""Heights of a long list of messages, and which message a row falls into. Knows nothing of messages."""

from bisect import bisect_right
from itertools import accumulate


class Heights:
    """Heights in rows with their prefix sums, made again only from the first height that changed."""

    def __init__(self) -> None:
        self._heights: list[int] = []
        self._starts: list[int] = [0]

    def __len__(self) -> int:
        return len(self._heights)

    def __getitem__(self, index: int) -> int:
        return self._heights[index]

    def __setitem__(self, index: int, height: int) -> None:
        if self._heights[index] != height:
            self._heights[index] = height
            del self._starts[index + 1 :]

    def replace(self, heights: list[int]) -> None:
        self._heights = heights
        self._starts = [0]

    def append(self, height: int) -> None:
        self._heights.append(height)

    def remove(self, index: int) -> None:
        del self._heights[index]
        del self._starts[index + 1 :]

    def start(self, index: int) -> int:
        """The first row of the message `index`; for the number of messages, the number of rows."""
        self._complete()
        return self._starts[index]

    @property
    def total(self) -> int:
        self._complete()
        return self._starts[-1]

    def locate(self, row: int) -> tuple[int, int]:
        """(message, row within it) of a row, which is clamped to what there is; there must be a message."""
        self._complete()
        index = min(max(bisect_right(self._starts, row) - 1, 0), len(self._heights) - 1)
        return index, min(max(row - self._starts[index], 0), max(self._heights[index] - 1, 0))

    def _complete(self) -> None:
        known = len(self._starts) - 1
        if known < len(self._heights):
            last = self._starts.pop()
            self._starts += accumulate(self._heights[known:], initial=last)
