"""Inline Markdown to runs: emphasis, code, links with their target in sight, images, breaks.

No link is ever written as a terminal hyperlink (OSC 8): what a person sees is where it leads.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.style import Style

from app.tui.markdown.rows import Palette, Run
from app.tui.markdown.spots import hot

if TYPE_CHECKING:
    from markdown_it.token import Token

_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
# Punctuation behind a bare address belongs to the sentence around it.
_BARE = re.compile(r"https?://[^\s<>\"'`|\\^{}⟨⟩]*[^\s<>\"'`|\\^{}⟨⟩.,;:!?)\]*_。，、；：！？）」』]", re.IGNORECASE)
_OPENS = {
    "strong_open": Style(bold=True),
    "em_open": Style(italic=True),
    "s_open": Style(strike=True),
}


def plain_runs(text: str, style: Style, palette: Palette) -> list[Run]:
    """The runs of text as it was written, in which web addresses can be clicked."""
    if "://" not in text:
        return [(text, style)]
    runs: list[Run] = []
    at = 0
    for match in _BARE.finditer(text):
        runs.append((text[at : match.start()], style))
        runs.append((match.group(), hot(style + palette["link"], "link", match.group())))
        at = match.end()
    return [run for run in (*runs, (text[at:], style)) if run[0]]


def inline_runs(tokens: Iterable["Token"], base: Style, palette: Palette) -> list[Run]:
    """The runs of an inline token's children on `base`; a newline in a run is a break."""
    runs: list[Run] = []
    styles = [base]
    links: list[tuple[str, int]] = []
    for token in tokens:
        kind = token.type
        if kind == "text" or kind == "text_special":
            if links:
                runs.append((token.content, styles[-1]))
            elif token.content:
                runs += plain_runs(token.content, styles[-1], palette)
        elif kind in ("softbreak", "hardbreak"):
            # Models break lines where they mean it (verse, addresses), so a newline stays a newline.
            runs.append(("\n", styles[-1]))
        elif kind == "code_inline":
            runs.append((token.content.replace("\n", " "), styles[-1] + palette["inline-code"]))
        elif kind in _OPENS:
            styles.append(styles[-1] + _OPENS[kind])
        elif kind == "link_open":
            target = str(token.attrGet("href") or "")
            links.append((target, len(runs)))
            styles.append(hot(styles[-1] + palette["link"], "link", target))
        elif kind == "link_close":
            styles.pop()
            target, first = links.pop()
            shown = "".join([text for text, _ in runs[first:]])
            if target and target not in (shown, f"mailto:{shown}"):
                runs.append((f" ⟨{target}⟩", hot(styles[-1] + palette["target"], "link", target)))
        elif kind.endswith("_close"):
            styles.pop()
        elif kind == "image":
            source = str(token.attrGet("src") or "")
            runs.append((token.content or "image", hot(styles[-1] + _OPENS["em_open"], "link", source)))
            runs.append((f" ⟨{source}⟩", hot(styles[-1] + palette["target"], "link", source)))
        elif kind == "html_inline" and _BREAK.fullmatch(token.content):
            runs.append(("\n", styles[-1]))
        else:
            runs.append((token.content, styles[-1]))
    return runs
