"""The process that asks the Hub: which models it has, what one of them is, or only whether it answers.

First it knocks where the Hub is asked, with nothing but the standard library, so that a missing way is known at once;
then it asks through the Hub's client, whose endpoint, token, proxies and certificates hold. What comes back is judged
entry by entry; one that is not what it should be is left out.
"""

import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from app.child import Say, serve, tell_connections
from app.errors import QuietlyError
from app.library.download import wanted
from app.library.hub import Answer, Found, Reached
from app.library.judging import TALKING, Model, Unfit, bits_of, found
from app.library.layout import File
from app.library.ranges import causes, of_network
from app.library.traffic import Traffic
from app.settings import paths
from model.config import MAX_FILE, SHAPES, parse_config
from model.errors import ModelError
from model.facts import parameters

SMALL = 8_000_000_000
"""Bytes of weights up to which a model that is not quantised is worth finding: 4 billion parameters of 16 bits."""
_LISTED = 100
"""Models that the Hub lists for one question; what runs here is chosen from them."""
_ADDRESS = 1.4
"""Seconds that one address may take to answer the knock: there may be another."""
_TIMEOUT = 15.0
"""Seconds without a byte after which an answer counts as missing."""
_LONGEST = 32 * 1024 * 1024
"""Bytes of an answer; the description of a hundred models takes a hundredth of it."""
_PORTS = {"http": 80, "https": 443}
_WANTED = ("downloads", "gated", "tags", "pipeline_tag", "safetensors", "config", "cardData")
"""What of each model is asked for."""


# --- the questions --------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Ask one question: `search WORDS MOST`, `look up REPO`, or `reach`."""
    match arguments:
        case ["search", words, most]:
            serve(lambda say: _answer(say, "search on the Hub", search(words, int(most))), why)
        case ["look up", repo]:
            serve(lambda say: _answer(say, f"description of {repo}", look_up(repo)), lambda error: why(error, repo))
        case ["reach"]:
            serve(lambda say: _answer(say, "whether the Hub answers", reach()), why)
        case _:
            raise SystemExit(f"{arguments} is no question.")


def _answer(say: Say, what: str, models: Iterator[Found]) -> None:
    """Say that the Hub is there, and then what it has."""
    tell_connections(say, "search", what)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # what the Hub's client heeds, but for the knock
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise QuietlyError(f"The Hub was not asked, {name} is set: unset it, then try again.")
    knock()
    say(Reached())
    traffic = Traffic()
    traffic.count()
    try:
        answer = Answer(tuple(models))
    finally:
        traffic.tell()
    say(answer)


def search(words: str, most: int) -> Iterator[Found]:
    """What runs here of the Hub's models by these words: those for MLX, then those that are small as they are."""
    kept: dict[str, Found] = {}
    for question, small in (({"filter": "mlx"}, False), ({"filter": "safetensors", "pipeline_tag": TALKING}, True)):
        fields = {**question, "search": words.strip(), "sort": "downloads", "limit": _LISTED, "expand": _WANTED}
        for entry in msgspec.json.decode(_get("/api/models", fields), type=list[msgspec.Raw]):
            try:
                one = found(msgspec.json.decode(entry, type=Model))
            except (msgspec.ValidationError, Unfit):
                continue
            if not small or (not one.stored.endswith("bit") and one.weights is not None and one.weights <= SMALL):
                kept.setdefault(one.repo, one)
    yield from list(kept.values())[:most]


def look_up(repo: str) -> Iterator[Found]:
    """What the Hub knows of one model, with its files and its config.json."""
    model = msgspec.json.decode(_get(f"/api/models/{repo}", {"blobs": True}), type=Model)
    try:
        one = found(model)
    except Unfit as reason:
        raise QuietlyError(f"{repo} {reason}.") from None
    files = wanted(repo, [File(file.rfilename, file.size or 0, "", "") for file in model.siblings])
    weights = sum(file.size for file in files if file.name.endswith(".safetensors"))
    shape = _shape(one, model.sha, next((file.size for file in files if file.name == "config.json"), 0))
    one = msgspec.structs.replace(one, shape=shape)
    config, count = one.config, one.parameters
    if config is not None and (config.tie_word_embeddings is not None or count is None):
        count = parameters(config).total
    yield msgspec.structs.replace(
        one,
        parameters=count,
        bits=bits_of(weights, count),
        size=sum(file.size for file in files),
        weights=weights,
        context=config.trained if config is not None else None,
    )


def _shape(one: Found, commit: str, size: int) -> str:
    """Its config.json; empty where what that says is not described here, or its conditions bar the way to it."""
    from huggingface_hub.errors import GatedRepoError

    if one.architecture not in SHAPES or size > MAX_FILE:
        return ""
    try:
        fields = json.loads(_get(f"/{one.repo}/resolve/{commit or 'main'}/config.json", {}))
        if not isinstance(fields, dict):
            return ""
        parse_config(fields, one.name)
        return json.dumps(fields)
    except GatedRepoError:
        return ""
    except (ValueError, RecursionError):
        raise QuietlyError(f"{one.repo}: its config.json is not valid JSON; choose another model.") from None
    except ModelError as error:
        raise QuietlyError(str(error)) from None


def reach() -> Iterator[Found]:
    """Nothing, where the Hub answers."""
    _get("/api/models", {"limit": 1})
    yield from ()


# --- the way there --------------------------------------------------------------------------------


def _endpoint() -> str:
    """Where the Hub is; named here too: the client looks at the environment once, when it is first imported."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def knock() -> None:
    """Open a connection to the Hub, or to the proxy before it, and close it. QuietlyError where there is no way."""
    place = urlsplit(_endpoint())
    proxies = getproxies()
    proxy = proxies.get(place.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(place.hostname or ""):
        place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        address = place.hostname, place.port or _PORTS.get(place.scheme, 1080)
    except ValueError:
        address = None, 0
    if not address[0]:
        raise QuietlyError(f"{_where()} is no address: check HF_ENDPOINT.")
    try:
        socket.create_connection(address, _ADDRESS).close()
    except OSError as error:
        raise QuietlyError(_unreached()) from error


def _get(path: str, fields: Mapping[str, Any]) -> bytes:
    """The Hub's answer, whole. Raises what the Hub's client raises: see `why`."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url, headers = f"{_endpoint()}{path}", build_hf_headers()
    with get_session().stream("GET", url, params=fields, headers=headers, timeout=_TIMEOUT) as answer:
        if answer.status_code >= 400:
            answer.read()
        hf_raise_for_status(answer)
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > _LONGEST:
                raise QuietlyError(f"{_where()} sends far more than was asked for: check HF_ENDPOINT.")
    return bytes(body)


def _where(unnamed: str = "The Hub") -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or unnamed


def why(error: BaseException, repo: str = "") -> str:
    """What was raised, as the sentence a person needs."""
    from huggingface_hub import errors

    where, chain = _where(), list(causes(error))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        return f"The certificate of {_where('the Hub')} is not trusted: name your network's in SSL_CERT_FILE."
    for one in chain:
        match one:
            case errors.GatedRepoError():
                return f"{repo} is gated: accept its conditions on its page, and set HF_TOKEN to a token of yours."
            case errors.RepositoryNotFoundError():
                return f"{where} has no {repo}, or it is private: check the name, or set HF_TOKEN to see it."
            case errors.HfHubHTTPError():
                return _refused(where, getattr(one.response, "status_code", 0))
            case msgspec.MsgspecError():
                return f"{where} answers in a way that makes no sense: check HF_ENDPOINT."
        if of_network(one):
            return _unreached()
    return f"{where} could not be asked ({type(error).__name__}): the log has more, {paths().logs / 'asking.log'}."


def _unreached() -> str:
    return f"{_where()} cannot be reached: check the connection; what is on this machine works without it."


def _refused(where: str, status: int) -> str:
    if status in (401, 403):
        return f"{where} refuses to answer ({status}): check HF_TOKEN."
    if status == 429:
        return f"{where} asks for a pause, too many requests (429): try again in a few minutes."
    return f"{where} answers {status}: try again later."


if __name__ == "__main__":
    main(sys.argv[1:])
