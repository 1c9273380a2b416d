"""Everything a person can do in the window, as one table: keys, palette and help are read from it.

Each row's `id` names its binding, so a keymap can rebind it. Nothing stands on a function key, Ctrl+arrows or
Ctrl+Space alone, because macOS takes those.
"""

from typing import NamedTuple

from textual.binding import Binding


class Action(NamedTuple):
    """One thing a person can do. `method` is the window's action_ method; `keys` may be empty."""

    id: str
    group: str
    keys: str
    method: str
    label: str
    says: str
    """One line for the palette and the help."""
    typed: str = ""
    """What may be typed into the composer instead, such as /help."""
    shown: str = ""
    """The keys as a person reads them."""
    palette: bool = True
    priority: bool = False
    """Acted on before the next key is looked at, so that what is typed right behind it goes where it leads."""


ACTIONS = (
    Action(
        "answer.stop",
        "Answers",
        "escape",
        "stop",
        "Stop the answer",
        "Stop writing; what is there is kept",
        shown="Esc",
    ),
    Action(
        "conversation.new",
        "Conversations",
        "ctrl+n",
        "new_conversation",
        "New conversation",
        "Begin with an empty page",
        typed="/new",
        shown="Ctrl+N",
        priority=True,
    ),
    Action(
        "conversation.find",
        "Conversations",
        "ctrl+l",
        "go_to_conversation",
        "Go to conversation…",
        "Find a conversation by its title",
        shown="Ctrl+L",
        priority=True,
    ),
    Action(
        "conversation.export",
        "Conversations",
        "ctrl+s,ctrl+e",
        "export",
        "Export as Markdown",
        "Write this conversation to a file in Downloads",
        typed="/export",
        shown="Ctrl+S",
    ),
    Action(
        "conversation.rename",
        "Conversations",
        "ctrl+r",
        "rename",
        "Rename conversation…",
        "Give this conversation another title",
        typed="/rename",
        shown="Ctrl+R",
        priority=True,
    ),
    Action(
        "conversation.delete",
        "Conversations",
        "",
        "delete",
        "Delete conversation…",
        "Delete this conversation, after a question",
        typed="/delete",
    ),
    Action(
        "model.switch",
        "Models",
        "ctrl+o",
        "switch_model",
        "Switch model…",
        "The next answer comes from another model",
        typed="/model",
        shown="Ctrl+O",
        priority=True,
    ),
    Action(
        "model.add",
        "Models",
        "",
        "add_model",
        "Add a model…",
        "Download one, bring the starter, or name a folder",
        typed="/add",
    ),
    Action(
        "window.sidebar",
        "Window",
        "ctrl+b",
        "toggle_sidebar",
        "Show or hide the sidebar",
        "Models and conversations",
        shown="Ctrl+B",
    ),
    Action(
        "window.palette",
        "Window",
        "ctrl+p",
        "command_palette",
        "All commands",
        "Everything here by name",
        shown="Ctrl+P",
        palette=False,
    ),
    Action(
        "window.theme",
        "Window",
        "",
        "theme",
        "Theme…",
        "Change the colours; kept for the next start",
        typed="/theme",
    ),
    Action(
        "window.help",
        "Window",
        "f1,ctrl+underscore,ctrl+slash",
        "help",
        "Help",
        "Keys and what they do",
        typed="/help",
        shown="F1 or Ctrl+/",
    ),
    Action(
        "window.quit",
        "Window",
        "ctrl+q",
        "quit",
        "Quit",
        "Everything is stored already",
        typed="/quit",
        shown="Ctrl+Q",
        priority=True,
    ),
)

TYPED = {action.typed: action for action in ACTIONS if action.typed}


def bindings() -> list[Binding]:
    """The table's keys as Textual bindings of the window."""
    return [
        Binding(
            action.keys,
            action.method,
            action.label,
            show=False,
            priority=action.priority,
            id=action.id,
        )
        for action in ACTIONS
        if action.keys and action.id != "window.palette"  # the app itself owns that one
    ]
