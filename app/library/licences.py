"""Licences that restrict what a model may be used for, known by their names: what a person is asked before fetching.

A few words on each, no legal advice: whoever agrees is to read the licence itself, on the model's page. It asks nobody.
"""

import re
from typing import NamedTuple

import msgspec

from app.errors import QuietlyError

_OPENPANGU = "PanguEmbedded"
"""The architecture that is published under no other licence, whatever the card of a copy says."""


class Terms(msgspec.Struct, frozen=True, tag=True):
    """What is to be agreed to before a model is fetched."""

    licence: str
    """As people know it."""
    says: str
    """What it restricts, in a sentence or two."""


class Unagreed(QuietlyError):
    """Nothing was fetched: the licence restricts what the model may be used for, and nobody has agreed to it yet."""

    def __init__(self, repo: str, terms: Terms) -> None:
        super().__init__(
            f"{repo} is not fetched: its licence ({terms.licence}) was not agreed to. Get it again, and agree to it."
        )
        self.repo, self.terms = repo, terms


class _Known(NamedTuple):
    name: re.Pattern[str]
    """What the name of such a licence has in it, in small letters and with dashes for all that stands between words."""
    says: str
    title: str = ""
    """What it is called where its card says less."""


_KNOWN = (
    _Known(
        re.compile("openpangu"),
        "It excludes any use within the European Union, downloading included. Who gives the model or a product built "
        "on it to others must say “Powered by openPangu” and name Huawei's trademark.",
        "OPENPANGU MODEL LICENSE AGREEMENT VERSION 1.0",
    ),
    _Known(re.compile(r"\bnc\b|non-?commercial|research"), "It allows no commercial use."),
    _Known(
        re.compile(r"^(?:llama|meta-llama|gemma|qwen|tongyi|deepseek$|deepseek-l|falcon-|bloom)|openrail|\brail\b"),
        "Its maker sets conditions on what the model is used for, and on passing it on.",
    ),
)


def terms(licence: str | None, architecture: str | None = None) -> Terms | None:
    """What a licence by this name restricts; None where it restricts nothing, or is not known here.

    `architecture` is the `model_type` of the model that is licensed.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", (licence or "").lower()).strip("-")
    if architecture == _OPENPANGU:
        name = "openpangu"
    found = next((known for known in _KNOWN if known.name.search(name)), None)
    shown = " ".join(re.findall(r"[\w.+-]+", licence or "", re.ASCII))  # others' words, without their signs
    return Terms(found.title or shown[:60], found.says) if found else None
