"""What a person is told when something cannot be done."""


class QuietlyError(Exception):
    """One clear sentence: what was wrong with which input, and the way out. Shown as it is, never with a traceback."""


def sendable(sentence: str) -> str:
    """A sentence as valid Unicode, without which it cannot be sent: the names in it may be none."""
    return sentence.encode(errors="replace").decode()
