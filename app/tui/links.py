"""Links out of model text: which of them may be opened, what a person is asked before, and the opening.

A link is hostile until a person has seen where it leads. What is opened is plain ASCII and says the same as what
was shown; the system's opener gets it as its only argument, without a shell. Knows no widget.
"""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from app.chat.text import one_line, visible

LONGEST = 2_000
"""Characters; a longer one nobody reads before saying yes."""

_DOTS = re.compile("[\u3002\uff0e\uff61]")  # other full stops, which a browser takes for dots
_LABEL = re.compile("[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What may stand in a URL as it is; everything else becomes UTF-8 in per cent signs.
_PLAIN = "!#$%&'()*+,-./:;=?@_~[]"


class _Refused(Exception):
    """Why a link is not opened, as the second half of a sentence."""


class _Link(NamedTuple):
    plain: str
    """What is opened: ASCII alone."""
    host: str
    """The host in ASCII, international names in punycode."""
    readable: str
    """The host in the letters it stands for."""


def link_question(url: str) -> tuple[str, str] | str:
    """The question and its detail to ask before `url` is opened, or the sentence why it is not."""
    try:
        link = _read(url)
    except _Refused as refused:
        return f"The link {one_line(url) or 'that was chosen'} is not opened: {refused}."
    detail = [url]
    if link.host != link.readable:
        # Letters of other scripts can look like Latin ones; the plain name does not.
        detail += ["", f"Its host is {link.readable}, in plain letters {link.host}. Is that the site you mean?"]
    elif not url.isascii():
        detail += ["", f"Its host is {link.host}."]
    return f"Open this link to {link.host} in the browser?", "\n".join(detail)


def open_link(url: str) -> str:
    """Hand `url` to the system's opener; returns the sentence why that cannot be, "" where it was done."""
    try:
        link = _read(url)
    except _Refused as refused:
        return f"The link {one_line(url) or 'that was chosen'} is not opened: {refused}."
    name = "open" if sys.platform == "darwin" else "xdg-open"
    opener = shutil.which(name)
    if opener is None:
        return f"There is no {name} here to open {one_line(url)} with; copy the link instead."
    try:
        # A session of its own: it outlives the window, and the window's Ctrl+C is not its own.
        process = subprocess.Popen(
            [opener, link.plain],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "the system refused"
        return f"{name} could not open {one_line(url)} ({reason}); copy the link instead."
    threading.Thread(target=process.wait, daemon=True).start()  # or it stays behind as a zombie
    return ""


def _read(url: str) -> _Link:
    if not url.strip():
        raise _Refused("it is empty")
    if len(url) > LONGEST:
        raise _Refused(f"it has {len(url):,} characters, more than the {LONGEST:,} that one can still look through")
    if visible(url) != url or any(character.isspace() for character in url):
        raise _Refused("it holds white space, or characters that hide where it leads")
    if "\\" in url:
        raise _Refused("it holds a backslash, which browsers read in different ways")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _Refused("its host cannot be read") from None
    if parts.scheme not in ("http", "https"):
        said = f"it begins with {one_line(parts.scheme, 20)}:" if parts.scheme else "it has no beginning like https://"
        raise _Refused(f"{said}, and only http and https links are")
    if "@" in parts.netloc:
        raise _Refused("it holds a name or a password before its host")
    host, readable = _host(parts)
    address = f"[{host}]" if ":" in host else host
    place = address if port is None else f"{address}:{port}"
    rest = url.partition("://")[2][len(parts.netloc) :]
    return _Link(f"{parts.scheme}://{place}{quote(rest, safe=_PLAIN)}", host, readable)


def _host(parts: SplitResult) -> tuple[str, str]:
    """The host in ASCII, and in the letters that its punycode stands for."""
    given = parts.hostname or ""
    if not given:
        raise _Refused("it names no host")
    if ":" in given:
        try:
            return str(ipaddress.IPv6Address(given)), str(ipaddress.IPv6Address(given))
        except ValueError:
            raise _Refused("its host cannot be read") from None
    # As browsers do: one way of writing a letter, small letters, and their own kinds of full stop.
    even = _DOTS.sub(".", unicodedata.normalize("NFKC", _DOTS.sub(".", given)).lower())
    labels = even.removesuffix(".").split(".")
    plain: list[str] = []
    readable: list[str] = []
    for label in labels:
        try:
            ascii_label = label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
            shown = label.removeprefix("xn--").encode().decode("punycode") if label.startswith("xn--") else label
        except UnicodeError:
            raise _Refused("its host cannot be read") from None
        if not _LABEL.fullmatch(ascii_label) or visible(shown) != shown or any(map(str.isspace, shown)):
            raise _Refused("its host cannot be read")
        plain.append(ascii_label)
        readable.append(shown)
    return ".".join(plain), ".".join(readable)
