"""Everything that can be set: the values as the program has them, and each of them described.

`FIELDS` is the one description: what a file or a variable may say, the document and the screen are made from it.
Knows no file, and not what the settings are for.
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal

import msgspec

from app.fields import Field
from app.generation import GENERATION_FIELDS, GenerationSettings

GENERATION = "generation"
"""The table of the file in which the generation settings for all models stand."""
_THEMES = (
    "textual-dark",
    "textual-light",
    "ansi-dark",
    "ansi-light",
    "atom-one-dark",
    "atom-one-light",
    "catppuccin-frappe",
    "catppuccin-latte",
    "catppuccin-macchiato",
    "catppuccin-mocha",
    "dracula",
    "flexoki",
    "gruvbox",
    "monokai",
    "nord",
    "rose-pine",
    "rose-pine-dawn",
    "rose-pine-moon",
    "solarized-dark",
    "solarized-light",
    "tokyo-night",
)


class Settings(msgspec.Struct, frozen=True):
    """What a person has set; the rest is as here. What each is for stands in `FIELDS`."""

    theme: str = "textual-dark"
    reasoning: Literal["folded", "open"] = "folded"
    enter_sends: bool = True
    large_paste: int = 8000
    copy_on_select: bool = True
    temporary: bool = False
    name_conversations: bool = True
    system_prompt: str = ""
    notify_after: float = 20.0
    load_at_start: bool = True
    unload_after: int = 30
    lookahead: bool = True
    draft_model: str = ""
    export_folder: str = ""
    export_format: Literal["markdown", "json", "html"] = "markdown"
    backups: int = 7
    keep_days: int = 0
    keep_read: float = 2.0
    generation: GenerationSettings = GenerationSettings()
    keys: dict[str, str] = {}
    """By an action's id (answer.stop) the keys it stands on instead of its own, separated by commas."""


FIELDS = (
    Field(
        "theme",
        "Looks",
        "Theme",
        "The colours of the window; those named ansi are the terminal's own",
        "choice",
        choices=tuple((name, name.replace("-", " ").capitalize()) for name in _THEMES),
    ),
    Field(
        "reasoning",
        "Looks",
        "Reasoning",
        "How the words are shown that a model writes before its answer",
        "choice",
        choices=(("folded", "Folded behind one line"), ("open", "Whole")),
    ),
    Field(
        "enter_sends",
        "Writing",
        "Enter sends",
        "Off, Enter begins a new line, and Ctrl+J, Shift+Enter or Option+Enter sends",
        "switch",
    ),
    Field(
        "large_paste",
        "Writing",
        "Large paste",
        "A paste of more characters than this is offered as an attachment; 0: never",
        "integer",
        low=0,
        high=10_000_000,
        unit="characters",
    ),
    Field(
        "copy_on_select",
        "Writing",
        "Copy what is selected",
        "Text that was selected with the mouse is copied at once",
        "switch",
    ),
    Field(
        "temporary",
        "Conversations",
        "Begin temporary chats",
        "New conversations live in memory alone, and the window opens with one",
        "switch",
    ),
    Field(
        "name_conversations",
        "Conversations",
        "Name conversations",
        "A model of a billion parameters or more gives a conversation its title, when nothing else is asked of it",
        "switch",
    ),
    Field(
        "system_prompt",
        "Conversations",
        "System prompt",
        "What a model is told before the first message of a new conversation",
        "text",
    ),
    Field(
        "notify_after",
        "Conversations",
        "Announce long answers",
        "The end of an answer that is out of sight is announced where it took so long; 0: never",
        "number",
        low=0,
        high=1_000_000,
        unit="seconds",
    ),
    Field(
        "load_at_start",
        "Models",
        "Load the model at start",
        "Off, the chosen model is loaded with the first question instead of when the window opens",
        "switch",
    ),
    Field(
        "unload_after",
        "Models",
        "Unload idle models",
        "A model that was not asked for so long gives its memory back until the next question; 0: never",
        "integer",
        low=0,
        high=100_000,
        unit="minutes",
    ),
    Field(
        "lookahead",
        "Models",
        "Look ahead",
        "What an answer repeats of the conversation is read several words at once; it is the same answer, sooner",
        "switch",
    ),
    Field(
        "draft_model",
        "Models",
        "Drafting model",
        "A small model that guesses what larger ones of its family will say, which are then sooner with the same"
        " answer; for those loaded from then on; empty: none",
        "line",
    ),
    *(
        msgspec.structs.replace(field, id=f"{GENERATION}.{field.id}", group="Answers")
        for field in GENERATION_FIELDS
        if field.id != "seed"
    ),
    Field(
        "export_folder",
        "Export",
        "Export to",
        "The folder that exports go to, from ~ or /; empty: Downloads",
        "line",
    ),
    Field(
        "export_format",
        "Export",
        "Export as",
        "What an exported conversation is written as",
        "choice",
        choices=(("markdown", "Markdown"), ("json", "JSON"), ("html", "HTML")),
    ),
    Field(
        "backups",
        "Keeping",
        "Daily backups",
        "How many days of backups of the conversations are kept; 0: none, and those there are go",
        "integer",
        low=0,
        high=365,
        unit="days",
    ),
    Field(
        "keep_days",
        "Keeping",
        "Keep conversations",
        "One in which nothing was said for so long is deleted when the window opens, also an imported one,"
        " but none that is pinned; 0: for ever",
        "integer",
        low=0,
        high=36500,
        unit="days",
    ),
    Field(
        "keep_read",
        "Keeping",
        "Keep what was read",
        "What models have read of long conversations stays on disk up to so much, so that these go on at once;"
        " never of temporary ones; 0: nothing stays, and what is there goes",
        "number",
        low=0,
        high=10_000,
        unit="GiB",
    ),
)


def values(settings: Settings) -> dict[str, object]:
    """What is set, by the ids of the fields; None where an optional one is not."""
    return {field.id: attrgetter(field.id)(settings) for field in FIELDS}


def settings_of(found: Mapping[str, object], keys: Mapping[str, str]) -> Settings:
    """The settings that the values `found`, by the ids of their fields, come to; they must fit."""
    return Settings(
        **dict(_named(found, "")),
        generation=GenerationSettings(**dict(_named(found, f"{GENERATION}."))),
        keys=dict(keys),
    )


def _named(found: Mapping[str, object], table: str) -> Iterator[tuple[str, Any]]:
    """The values of one table, by their names in it."""
    for id, value in found.items():
        name = id.removeprefix(table)
        if id == table + name and "." not in name:
            yield name, value
