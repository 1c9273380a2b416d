"""A person's own keys: what `keys` in the settings says, as Textual takes it, and what is wrong with it.

Every binding of the window has an id, and what is known here is read from the widgets and screens themselves. It is
imported only where a person has set keys.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import getmembers, isclass
from itertools import combinations
from types import ModuleType

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import REPLACED_KEYS, Keys, _character_to_key, key_to_character
from textual.screen import Screen

from app.chat.text import one_line
from app.tui import screens, widgets

Places = Mapping[type[DOMNode], Mapping[str, Binding]]
"""By the class whose keys they are, its bindings by their ids."""

_MODIFIERS = {"control": "ctrl", "option": "alt", "opt": "alt", "command": "super", "cmd": "super"}
_NAMES = {
    "esc": "escape",
    "return": "enter",
    "del": "delete",
    "ins": "insert",
    "pgup": "pageup",
    "pgdn": "pagedown",
    "page_up": "pageup",
    "page_down": "pagedown",
}
_HELD = frozenset({"ctrl", "alt", "shift", "super", "hyper", "meta"})
_NAMED = frozenset(name for key in Keys if len(name := key.value.rpartition("+")[2]) > 1 and name.isalnum())
_ALSO = {"ctrl+slash": "ctrl+underscore", "ctrl+space": "ctrl+@"}
"""What terminals without the Kitty protocol send instead."""
_TAKEN = {"ctrl+m": "Enter", "ctrl+i": "Tab", "ctrl+left_square_bracket": "Esc"}
"""What most terminals cannot tell from another key."""


def known() -> Places:
    """Every binding that can be given other keys, by the class it belongs to."""
    from app.tui import app

    modules = [app, *_inside(screens), *_inside(widgets)]
    kinds = {
        kind for module in modules for _, kind in getmembers(module, isclass) if kind.__module__ == module.__name__
    }
    nodes = [kind for kind in kinds if issubclass(kind, DOMNode)]
    places = {kind: _bindings(kind) for kind in sorted(nodes, key=lambda kind: kind.__qualname__)}
    return {kind: bindings for kind, bindings in places.items() if bindings}


def _inside(package: ModuleType) -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(package.__path__):
        yield import_module(f"{package.__name__}.{module.name}")


def _bindings(kind: type[DOMNode]) -> dict[str, Binding]:
    """The bindings of `kind` and of what it inherits from, that have an id."""
    return {
        binding.id: binding
        for base in reversed(kind.__mro__)
        for binding in vars(base).get("BINDINGS", ())
        if isinstance(binding, Binding) and binding.id is not None
    }


def keymap(keys_by_id: Mapping[str, str], places: Places) -> tuple[dict[str, str], list[str]]:
    """What `App.set_keymap` takes, from what the settings say, and a sentence for each part that cannot be followed."""
    by_id = {id: (kind, binding) for kind, bindings in places.items() for id, binding in bindings.items()}
    chosen: dict[str, str] = {}
    sentences: list[str] = []
    for id, written in keys_by_id.items():
        if id not in by_id:
            near = get_close_matches(id, by_id, 1)
            meant = f"did you mean {near[0]}?" if near else "F1 lists what there is."
            sentences.append(f"The settings give keys to {_quoted(id)}, which is no action; {meant}")
            continue
        kind, binding = by_id[id]
        keys: list[str] = []
        for piece in written.split(","):
            key, problem = _spelled(piece)
            if not problem and binding.priority and issubclass(kind, (App, Screen)) and _character(key):
                problem = "could not be typed any more; add ctrl+ or alt+ to it."
            if problem:
                sentences.append(f"The settings give {id} the key {_quoted(piece)}, which {problem}")
            else:
                keys.extend(one for one in (key, _ALSO.get(key)) if one and one not in keys)
        if keys:
            chosen[id] = ",".join(keys)
    for bindings in places.values():
        _part(bindings, chosen, sentences)
    return chosen, sentences


def _part(bindings: Mapping[str, Binding], chosen: dict[str, str], sentences: list[str]) -> None:
    """See to it that no key of the settings does two things in one place: what was named first keeps it."""
    order = [id for id in chosen if id in bindings]
    for first, second in combinations([*order, *(id for id in bindings if id not in chosen)], 2):
        shared = [key for key in _keys(bindings[first], chosen) if key in _keys(bindings[second], chosen)]
        if not shared or first not in chosen:
            continue
        if second in chosen:
            left = [key for key in _keys(bindings[second], chosen) if key not in shared]
            chosen[second] = ",".join(left)
            if not left:
                del chosen[second]
            after = f"it stays with {first}."
        else:
            after = f"{second} gives way; set another key for it."
        said = f"The settings give {one_line(', '.join(shared), 60)} to {first}, where {second} has it too; {after}"
        if said not in sentences:
            sentences.append(said)


def _keys(binding: Binding, chosen: Mapping[str, str]) -> list[str]:
    written = chosen.get(binding.id or "", binding.key)
    return [_spelled(key)[0] for key in written.split(",")]


def _spelled(written: str) -> tuple[str, str]:
    """A key as Textual names it, and what is wrong with it: Ctrl+B is ctrl+b, ctrl+/ is ctrl+slash."""
    *held, name = written.strip().replace("++", "+plus").split("+") if written.strip() != "+" else ["plus"]
    modifiers = sorted({_MODIFIERS.get(one.strip().lower(), one.strip().lower()) for one in held})
    if len(name) == 1:
        name = _character_to_key(name.lower() if modifiers else name)
    else:
        name = _NAMES.get(name.strip().lower(), name.strip().lower())
    if modifiers == ["shift"] and len(name) == 1 and name.isalpha():
        modifiers, name = [], name.upper()
    key = "+".join((*modifiers, name))
    if not name or not _HELD.issuperset(modifiers) or (name not in _NAMED and not _character(name)):
        return key, "is none that is known; write it as ctrl+n, alt+enter, f5 or escape."
    if key in _TAKEN:
        return key, f"most terminals send as {_TAKEN[key]}; choose another."
    return key, ""


def _character(key: str) -> str | None:
    """What typing `key` writes; None where it writes nothing."""
    return key_to_character(REPLACED_KEYS.get(key, key))


def _quoted(text: str) -> str:
    return f"“{one_line(text, 40)}”"
