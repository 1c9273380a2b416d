"""What two sequences begin with: it need not be read, counted or sent again. It knows no MLX."""

from collections.abc import Sequence


def shared_prefix(some: Sequence[object], others: Sequence[object]) -> int:
    """How many items both begin with."""
    limit = min(len(some), len(others))
    return next((index for index in range(limit) if some[index] != others[index]), limit)
