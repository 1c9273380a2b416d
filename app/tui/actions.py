"""Everything a person can do in the window, as one table: keys, palette, slash commands and help are read from it.

Each row's `id` names its binding, so a keymap can rebind it. Nothing stands on a function key, Ctrl+arrows or
Ctrl+Space alone, because macOS takes those. What a row does is looked up by its id among the window's desks.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from textual.binding import Binding

Where = Literal["window", "transcript", "lists"]


class Action(NamedTuple):
    """One thing a person can do; `keys` may be empty."""

    id: str
    group: str
    label: str
    says: str
    """One line for the palette, the completion of slash commands and the help."""
    keys: str = ""
    typed: str = ""
    """What may be typed into the composer instead, such as /help."""
    argument: str = ""
    """What may be typed behind that, as one word for the completion list; empty where nothing may."""
    shown: str = ""
    """The keys as a person reads them."""
    palette: bool = True
    priority: bool = False
    """Acted on before the next key is looked at, so that what is typed right behind it goes where it leads."""
    where: Where = "window"
    """Letters mean an act only where nothing is typed: in the "transcript", or in the "lists" as well."""


def _message(id: str, label: str, says: str, keys: str, typed: str = "", shown: str = "", argument: str = "") -> Action:
    return Action(
        f"message.{id}",
        "Messages",
        label,
        says,
        keys,
        typed,
        argument,
        shown or keys.upper(),
        where="transcript",
    )


def _chat(
    id: str,
    label: str,
    says: str,
    keys: str = "",
    typed: str = "",
    shown: str = "",
    argument: str = "",
    priority: bool = False,
) -> Action:
    return Action(f"conversation.{id}", "Conversations", label, says, keys, typed, argument, shown, priority=priority)


ACTIONS = (
    Action("answer.stop", "Answers", "Stop the answer", "Stop writing; what is there is kept", "escape", shown="Esc"),
    Action(
        "page.find",
        "Reading",
        "Find in this conversation…",
        "Mark a word wherever it was said",
        "ctrl+f",
        "/find",
        "words",
        "Ctrl+F",
        priority=True,
    ),
    Action(
        "page.read",
        "Reading",
        "To the messages and back",
        "Leave the composer for the transcript, where single letters act on messages",
        "ctrl+t",
        shown="Ctrl+T",
    ),
    _message("edit", "Edit", "A question to send anew, or an answer to go on from: as a branch", "e", "/edit"),
    _message("regenerate", "Answer again", "Another answer from the same model", "r", "/again"),
    _message("regenerate_with", "Answer again with…", "From another model", "R", "/with", "Shift+R", "model"),
    _message("compare", "Side by side…", "Two models answer the same question", "v", "/compare", argument="model"),
    _message("continue", "Continue the answer", "Go on where it ended, word for word", "x", "/continue"),
    _message("branch", "Branch from here", "What you send next follows this message", "b", "/branch"),
    _message("quote", "Quote", "Put it, or what is selected, into the composer", "q", "/quote"),
    _message("copy", "Copy as Markdown", "The message as it was written", "c", "/copy"),
    _message("copy_text", "Copy as text", "The message as it is shown", "C", shown="Shift+C"),
    _message("copy_code", "Copy a code block…", "The code alone", "y", "/code"),
    _message("links", "Open a link…", "The links of the message, after a question", "o", "/links"),
    _message("probabilities", "Probabilities…", "What else could have stood at a place of the answer", "p", "/why"),
    _message("delete", "Delete", "It and all that follows; undo brings it back", "delete,backspace,D", shown="Del"),
    Action(
        "edit.undo",
        "Messages",
        "Undo the deletion",
        "Bring back the message or conversation deleted last",
        "u",
        "/undo",
        shown="U",
        where="lists",
    ),
    _chat("new", "New conversation", "Begin with an empty page", "ctrl+n", "/new", "Ctrl+N", priority=True),
    _chat("temporary", "New temporary chat", "Nothing of it is ever written to disk", typed="/temporary"),
    _chat("find", "Search all conversations…", "Titles and words", "ctrl+l", "/search", "Ctrl+L", "words", True),
    _chat("export", "Export", "To a file in Downloads, or as it is set", "ctrl+s,ctrl+e", "/export", "Ctrl+S"),
    _chat("export_as", "Export as…", "This or all, one branch or all, Markdown, JSON or HTML", typed="/export-as"),
    _chat("import", "Import…", "What Quietly, ChatGPT or LM Studio has exported", typed="/import", argument="path"),
    _chat("rename", "Rename conversation…", "Give it another title", "ctrl+r", "/rename", "Ctrl+R", "title", True),
    _chat("pin", "Pin or unpin", "Keep this conversation on top of the list", typed="/pin"),
    Action(
        "conversation.tune",
        "Conversations",
        "Tune the conversation…",
        "What the model is told, and how it answers: temperature, context and the like",
        "t",
        "/tune",
        shown="T",
        where="lists",
    ),
    _chat("instruct", "System prompt…", "Take one from your library", typed="/system", argument="name"),
    _chat("preset", "Preset…", "Take over a model, system prompt and settings", typed="/preset", argument="name"),
    _chat("delete", "Delete conversation", "Every message in it; undo brings it back", typed="/delete"),
    Action(
        "writing.attach",
        "Writing",
        "Attach a file…",
        "Text, Markdown, source or PDF goes along with what you send",
        typed="/attach",
        argument="path",
    ),
    Action(
        "writing.editor",
        "Writing",
        "Write in your editor",
        "Open what is typed in $EDITOR",
        "ctrl+g",
        "/editor",
        shown="Ctrl+G",
    ),
    Action(
        "writing.template",
        "Writing",
        "Use a template…",
        "Put a kept text into the composer",
        typed="/template",
        argument="name",
    ),
    Action("writing.keep", "Writing", "Keep as a template…", "Keep what is typed, to use it again"),
    Action("writing.forget", "Writing", "Remove a template…", "A kept text you no longer need"),
    Action(
        "model.switch",
        "Models",
        "Switch model…",
        "The next answer comes from another model",
        "ctrl+o",
        "/model",
        "name",
        "Ctrl+O",
        priority=True,
    ),
    Action(
        "model.library",
        "Models",
        "Library…",
        "All models: here, on their way, to be had; what each is, whether it fits; download, delete, inspect",
        typed="/models",
        argument="name",
    ),
    Action("model.add", "Models", "Add a model…", "Download one, bring the starter, or name a folder", typed="/add"),
    Action(
        "model.tune",
        "Models",
        "Settings of a model…",
        "How it answers in all conversations",
        typed="/defaults",
        argument="model",
    ),
    Action(
        "window.sidebar",
        "Window",
        "Show or hide the sidebar",
        "Models and conversations",
        "ctrl+b",
        shown="Ctrl+B",
    ),
    Action(
        "window.palette", "Window", "All commands", "Everything here by name", "ctrl+p", shown="Ctrl+P", palette=False
    ),
    Action(
        "window.connections",
        "Window",
        "Connections…",
        "Whom Quietly spoke to since the window opened",
        "ctrl+right_square_bracket,f2",
        "/connections",
        shown="Ctrl+]",
    ),
    Action("window.settings", "Window", "Settings…", "Everything that can be set", typed="/settings"),
    Action(
        "window.erase",
        "Window",
        "Delete everything…",
        "All that was ever said, for good, after a question",
        typed="/delete-everything",
    ),
    Action("window.theme", "Window", "Theme…", "Change the colours; kept for the next start", typed="/theme"),
    Action(
        "window.help",
        "Window",
        "Help",
        "Keys and what they do",
        "f1,ctrl+underscore,ctrl+slash",
        "/help",
        shown="F1 or Ctrl+/",
    ),
    Action(
        "window.quit",
        "Window",
        "Quit",
        "Everything is stored already",
        "ctrl+q",
        "/quit",
        shown="Ctrl+Q",
        priority=True,
    ),
)

BY_ID = {action.id: action for action in ACTIONS}
TYPED = {action.typed: action for action in ACTIONS if action.typed}
OWN = ("window.palette", "window.connections", "window.quit")
"""What the app itself binds, so that it works over every screen."""
NO_KEY = "none"
"""A key that no terminal sends, for what has none of its own: so it has a binding, and can be given one."""


def command(text: str) -> tuple[Action, str] | None:
    """The action that a person typed, and what stands behind it; None where `text` is no command.

    Only what is a command whole: a question may begin with a slash.
    """
    word, _, argument = text.strip().partition(" ")
    action = TYPED.get(word)
    if action is None or (argument and not action.argument) or "\n" in text.strip():
        return None
    return action, argument.strip()


def bindings() -> list[Binding]:
    """The table's keys as Textual bindings of the window."""
    return [
        Binding(
            action.keys or NO_KEY,
            f"act('{action.id}')",
            action.label,
            show=False,
            priority=action.priority,
            id=action.id,
        )
        for action in ACTIONS
        if action.id not in OWN
    ]


def keys_shown(action: Action, keymap: Mapping[str, str]) -> str:
    """The keys of `action` as a person reads them: their own where `keymap` has some."""
    return shown(keymap[action.id]) if action.id in keymap else action.shown


_NAMES = {"delete": "Del", "escape": "Esc", "pageup": "Page up", "pagedown": "Page down"}


def shown(keys: str) -> str:
    """The first of `keys`, as bindings name them, as a person reads it: E, Shift+R, Ctrl+X."""
    first = keys.split(",")[0]
    if len(first) == 1:
        return f"Shift+{first}" if first.isalpha() and first.isupper() else first.upper()
    return "+".join(_NAMES.get(part, part.capitalize()) for part in first.split("+")) if first else ""
