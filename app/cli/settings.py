"""`quietly settings`: everything that can be set, where each value comes from, and another one for it."""

import os
from typing import Annotated, Literal

import typer

from app.chat.text import one_line, visible
from app.cli.shared import as_given, print_json, settings_in_force, tell
from app.errors import QuietlyError
from app.fields import Field, expected, fits, shown
from app.settings import FIELDS, meant, overridden, paths, save_settings, set_in, values, variable

settings_app = typer.Typer(help="What is set, and setting it.", invoke_without_command=True)
_FIELDS = {field.id: field for field in FIELDS}
_VALUE_CELLS = 60
_NOT_SET = "not set"

Source = Literal["file", "environment", "default"]
_Name = Annotated[str, typer.Argument(metavar="FIELD", help="As `quietly settings` names it, such as theme.")]


@settings_app.callback()
def settings(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Show everything that can be set: its value, and whether that is from the file, the environment or as usual."""
    if context.invoked_subcommand:
        return
    chosen = settings_in_force()
    found, whence = values(chosen), _sources()
    if as_json:
        rows = {id: {"value": value, "from": whence[id]} for id, value in found.items()}
        print_json(rows | {"keys": {"value": chosen.keys, "from": "file"}})
        return
    width = max(map(len, found))
    for id, value in found.items():
        source = f"environment, {variable(_FIELDS[id])}" if whence[id] == "environment" else whence[id]
        print(f"{id:<{width}}  {_told(_FIELDS[id], value)}  ({source})")
    for action, keys in chosen.keys.items():
        print(visible(f"{f'keys.{action}':<{width}}  {keys}  (file)"))
    print(visible(f"\nThe file is {paths().settings}"))


@settings_app.command("set", context_settings={"ignore_unknown_options": True})  # a value may be negative
def put(
    name: _Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Switches take on or off.")],
) -> None:
    """Set a field in the file; its comments and its order stay."""
    field = _field(name)
    wanted = meant(field, value)
    if not fits(field, wanted):
        raise QuietlyError(f"{field.id} must be {expected(field)}, not {one_line(value) or 'empty'}.")
    save_settings(paths().settings, {field.id: wanted})
    print(f"{field.id} is {_told(field, wanted)}")
    _say_who_decides(field)


@settings_app.command()
def unset(name: _Name) -> None:
    """Take a field out of the file: what it usually is holds again."""
    field = _field(name)
    save_settings(paths().settings, {field.id: None})
    print(f"{field.id} is {_told(field, values(settings_in_force())[field.id])}")
    _say_who_decides(field)


def _field(name: str) -> Field:
    if name in _FIELDS:
        return _FIELDS[name]
    from difflib import get_close_matches

    called = {field.id.rpartition(".")[2]: field.id for field in FIELDS} | {field.id: field.id for field in FIELDS}
    near = get_close_matches(name, called, 1)
    meaning = f"did you mean {called[near[0]]}?" if near else "`quietly settings` shows what there is."
    raise QuietlyError(f"{as_given(name)} is no setting; {meaning}")


def _say_who_decides(field: Field) -> None:
    if field.id in overridden():
        name = variable(field)
        tell(f"{name} stands over it: while that is set, {one_line(os.environ[name])} is in force.")


def _sources() -> dict[str, Source]:
    """By field where its value comes from."""
    above, written = overridden(), set_in(paths().settings)
    return {id: "environment" if id in above else "file" if id in written else "default" for id in _FIELDS}


def _told(field: Field, value: object) -> str:
    """A value in one line, as it can be set again unless there is more of it."""
    if value is None or value == "":
        return _NOT_SET
    if field.kind == "choice":
        return str(value)
    told = shown(field, value) if field.kind != "integer" else str(value)
    return one_line(told, _VALUE_CELLS) + (" …" if "\n" in told.strip() else "")
