"""How a number of bytes reads, everywhere."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """`count` bytes in binary units with about three digits: 93.4 MiB."""
    number, unit = float(count), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    digits = 0 if unit == 0 or number >= 99.95 else 1
    return f"{number:.{digits}f} {_UNITS[unit]}"
