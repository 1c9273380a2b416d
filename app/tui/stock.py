"""What the library and the sidebar say about each model: the installed ones, those on their way, those to be had.

Pure functions from the library's records to items of finished words; they change nothing and know no screen.
"""

from datetime import date
from typing import TYPE_CHECKING

from app import words
from app.tui.screens.menu import MenuRow
from app.tui.screens.models import Item
from app.tui.widgets.sidebar import SIGNS, ModelState

if TYPE_CHECKING:
    from app.library.catalogue import Offer, Waiting
    from app.library.downloads import Download, State
    from app.library.fit import Fit, Verdict
    from app.library.hub import Found
    from app.library.local import InstalledModel, Source
    from model.config import Config

STATES: "dict[State, ModelState]" = {
    "waiting": "waiting",
    "running": "coming",
    "paused": "paused",
    "failed": "problem",
}
"""How downloads look, by how they stand."""
HERE, COMING, CATALOGUE, HUB = "On this machine", "On their way", "To download", "On the Hub"
DEMONSTRATIONS = "Demonstrations, with Quietly"

_PLACES: "dict[Source, str]" = {
    "starter": "the starter",
    "hub": "the Hub's cache",
    "folder": "a folder of yours",
    "quietly": "Quietly's folder",
    "lm-studio": "LM Studio",
    "ollama": "Ollama",
    "demonstration": "Quietly, a demonstration",
}
_RUNS = {"quietly": "run by Quietly itself", "mlx-lm": "run by mlx-lm"}
_VERDICTS: "dict[Verdict, tuple[str, str]]" = {
    "fits": ("fits", ""),
    "tight": ("tight", "$text-warning"),
    "too big": ("too big", "$text-error"),
}


def model_key(model: "InstalledModel") -> str:
    return f"model:{model.path}"


def download_key(download: "Download") -> str:
    return f"download:{download.repo}"


# --- on this machine --------------------------------------------------------------------------------------


def installed(
    model: "InstalledModel",
    fit: "Fit | None",
    *,
    chosen: bool,
    state: "ModelState",
    used: float | None,
    today: date,
) -> Item:
    """A model that is on this machine, whole or not; `state` is how its engine stands."""
    usable = model.problem is None
    return Item(
        model_key(model),
        DEMONSTRATIONS if model.source == "demonstration" else HERE,
        model.name,
        SIGNS[state if usable else "problem"],
        _price(model.size, fit if usable else None),
        chosen,
        facts=(
            *_shape(model.parameters, model.stored, model.bits, model.architecture, model.runs),
            ("Context", _reach(model.context, model.config)),
            ("Size", words.size(model.size)),
            ("Licence", model.licence or ""),
            ("Lies in", _PLACES[model.source]),
            ("From", model.repo or ""),
            ("Revision", (model.revision or "")[:12]),
            ("Used", words.day(used, today) if used is not None else "not yet"),
            ("Place", str(model.path)),
        ),
        says=model.problem or (fit.sentence if fit is not None else ""),
        wrong=not usable,
        acts=_acts(model, state),
    )


def _acts(model: "InstalledModel", state: "ModelState") -> tuple[MenuRow, ...]:
    usable, why = model.problem is None, "it cannot be used"
    full = usable and (model.bits is None or model.bits >= 16)
    first = (
        MenuRow("get", "Go on with the download")
        if model.unfinished is not None and model.repo
        else MenuRow("use", "Use it for the next answer", "", usable, why)
    )
    return (
        first,
        MenuRow("inspect", "Inspect…", "i", usable, why),
        MenuRow("tokens", "Words as tokens…", "w", usable, why),
        MenuRow("tune", "Settings of this model…", "s", usable, why),
        MenuRow(
            "quantise", "Quantise to 4 or 8 bit…", "q", full, "its weights are in few bits already" if usable else why
        ),
        MenuRow("unload", "Stop loading", "x")
        if state == "loading"
        else MenuRow("unload", "Unload", "x", state == "loaded", "it is not loaded"),
        MenuRow("remove", "Delete…", "d", model.source != "demonstration", "a demonstration goes with Quietly alone"),
    )


# --- on their way -----------------------------------------------------------------------------------------


def coming(download: "Download") -> Item:
    """A model that is being fetched, or was."""
    running = download.state in ("running", "waiting")
    return Item(
        download_key(download),
        COMING,
        download.name,
        SIGNS[STATES[download.state]],
        ((f" {progress(download)}", ""),),
        facts=(
            ("Here", f"{words.size(download.done)} of {words.size(download.total)}" if download.total else ""),
            ("Rate", words.rate(download.rate)),
            ("Left", words.duration(download.left) if download.left is not None else ""),
            ("From", download.repo),
        ),
        says=download.sentence,
        wrong=download.state == "failed",
        acts=(
            MenuRow("pause", "Pause", "space") if running else MenuRow("pause", "Go on", "space"),
            MenuRow("remove", "Cancel, and delete what came…", "d"),
        ),
    )


def progress(download: "Download") -> str:
    """How far it is, in a word or two: 43 %, paused 43 %."""
    done = words.percent(download.done, download.total) if download.total else ""
    match download.state:
        case "running":
            return done or "asking"
        case state:
            return f"{state} {done}".strip()


def pace(download: "Download") -> str:
    """How fast it comes, and for how long still: 32.0 MiB/s · 1 min 40 s; empty while it does not."""
    if download.state != "running":
        return ""
    left = words.duration(download.left) if download.left is not None else ""
    return " · ".join(filter(None, (words.rate(download.rate), left)))


# --- to be had --------------------------------------------------------------------------------------------


def offered(offer: "Offer", fit: "Fit | None") -> Item:
    """A model of the catalogue."""
    return Item(
        f"offer:{offer.reference}",
        CATALOGUE,
        offer.name,
        ("+", "$foreground 60%"),
        _price(offer.size, fit),
        facts=(
            *_shape(offer.parameters, offer.stored, offer.bits, offer.config.model_type, offer.runs),
            ("Context", _reach(offer.context, offer.config)),
            ("Download", f"about {words.size(offer.size)}"),
            ("Licence", offer.licence),
            ("From", offer.repo or "the package index"),
        ),
        says=_sentences(offer.note, fit),
        acts=(MenuRow("get", "Download…"),),
    )


def waiting(one: "Waiting") -> Item:
    """A model that people may look for, and that is not offered."""
    return Item(
        f"waiting:{one.repo}",
        CATALOGUE,
        one.name,
        ("–", "$foreground 60%"),
        ((" not offered", ""),),
        facts=(("Licence", one.licence), ("From", one.repo)),
        says=_sentences(one.why, None),
    )


def found(one: "Found", fit: "Fit | None") -> Item:
    """A model that a search on the Hub has found."""
    return Item(
        f"found:{one.repo}",
        HUB,
        one.name,
        ("+", "$foreground 60%"),
        _price(one.size, fit),
        facts=(
            *_shape(one.parameters, one.stored, one.bits, one.architecture, one.runs),
            ("Context", _reach(one.context, one.config)),
            ("Download", words.size(one.size) if one.size else ""),
            ("Fetched", f"{one.downloads:,} times in a month" if one.downloads else ""),
            ("Licence", one.licence or "not named"),
            ("From", one.repo),
        ),
        says=_sentences(_conditions(one), fit),
        acts=(MenuRow("get", "Download…"),),
        found=True,
    )


def _conditions(one: "Found") -> str:
    """What has to be accepted or agreed to before it is fetched."""
    from app.library.licences import terms

    restricted = terms(one.licence, one.architecture)
    said = (
        "Gated: its conditions have to be accepted on its page first." if one.gated else "",
        f"Its licence has to be agreed to. {restricted.says}" if restricted is not None else "",
    )
    return " ".join(filter(None, said))


def _price(size: int | None, fit: "Fit | None") -> tuple[tuple[str, str], ...]:
    """What stands at the end of a row: the size, where it is known, and whether it fits."""
    after = [(f" {words.size(size)}", "")] if size else []
    if fit is not None:
        word, style = _VERDICTS[fit.verdict]
        after.append((f" {word:>7}", style))
    return tuple(after)


def _sentences(note: str, fit: "Fit | None") -> str:
    begun = f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else ""
    return " ".join(filter(None, (begun, fit.sentence if fit is not None else "")))


def _shape(
    parameters: int | None,
    stored: str,
    bits: float | None,
    architecture: str | None,
    runs: str | None,
) -> tuple[tuple[str, str], ...]:
    exact = f"{bits:.3g} bits a weight" if bits else ""
    run = ", ".join(filter(None, (architecture or "", _RUNS.get(runs or "", ""))))
    return (
        ("Parameters", words.parameters(parameters) if parameters else ""),
        ("Weights", f"{stored} ({exact})" if stored and exact else stored or exact),
        ("Architecture", run),
    )


def _reach(trained: int | None, config: "Config | None") -> str:
    """How long a conversation it takes."""
    from model.config import UNBOUNDED

    if config is not None and config.context >= UNBOUNDED:
        return f"{words.no_limit(config.trained)} tokens"
    return words.tokens(trained) if trained else ""
