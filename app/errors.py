"""What a person is told when something cannot be done."""


class QuietlyError(Exception):
    """One clear sentence: what was wrong with which input, and the way out. Shown as it is, never with a traceback."""
