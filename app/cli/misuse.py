"""What is wrong with a line that no command can take, in one sentence of ours."""

import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import typer

from app.cli.shared import as_given
from app.fields import Field, expected

Misuse: type[Exception] = typer.BadParameter.__bases__[0]
"""What the library raises: Click's error, wherever a version of Typer keeps it."""


def sentence(error: Any) -> str:
    """Which word is wrong and how, and the way out."""
    match type(error).__name__:
        case "NoSuchOption":
            return _no_option(error.option_name, error.ctx)
        case "BadOptionUsage":
            return _no_value(error.option_name)
        case "MissingParameter":
            return _missing(error.param, error.ctx)
        case "BadParameter":
            return _bad_value(error)
    return _no_command(error.ctx) if hasattr(error.ctx.command, "commands") else _too_much(error)


def _no_option(name: str, context: Any) -> str:
    path, params = context.command_path, context.command.params
    has_not = f"`{path}` has no option {as_given(name)}"
    options = {option.lstrip("-"): option for each in params for option in (*each.opts, *each.secondary_opts)}
    near = get_close_matches(name.lstrip("-"), options, 1)
    if near:
        return f"{has_not}; did you mean {options[near[0]]}?"
    dashes = ", and words that begin with a dash go behind --" if any(map(_is_argument, params)) else ""
    return f"{has_not}: `{path} --help` lists what it has{dashes}."


def _no_value(name: str) -> str:
    if any(word.startswith(f"{name}=") for word in sys.argv):
        return f"{name} takes no value: leave out the = and what is behind it."
    return f"{name} needs a value behind it."


def _missing(param: Any, context: Any) -> str:
    path = context.command_path
    usage = " ".join([path, *(_name(each) for each in context.command.params if each.required)])
    return f"{_name(param)} is missing: write `{usage}`; `{path} --help` says more."


def _bad_value(error: Any) -> str:
    """The value is the cause's alone, and only newer versions of the library have one."""
    found = error.__cause__.errors() if hasattr(error.__cause__, "errors") else []
    given = f", not {as_given(str(found[0]['input']))}" if found else ""
    return f"{_name(error.param)} must be {expected(_field(error.param, error.ctx.command))}{given}."


def _no_command(context: Any) -> str:
    path, commands = context.command_path, context.command.commands
    words = [word for word in sys.argv[1:] if not word.startswith("-")][path.count(" ") :]
    if not words:
        return f"`{path}` needs a command behind it: `{path} --help` lists them."
    near = get_close_matches(words[0], commands, 1)
    way_out = f"; did you mean `{path} {near[0]}`?" if near else f": `{path} --help` lists them."
    return f"`{path}` has no command {as_given(words[0])}{way_out}"


def _too_much(error: Any) -> str:
    """The words are told in the library's sentence alone, between brackets."""
    words = error.message.partition(" (")[2].removesuffix(")")
    quotes = ", or put what belongs together in quotes" if any(map(_is_argument, error.ctx.command.params)) else ""
    return f"`{error.ctx.command_path}` does not take {as_given(words)}: leave it out{quotes}."


def _field(param: Any, command: Any) -> Field:
    """What a parameter takes, as the function of its command declares it."""
    declared, info = get_args(command.callback.__annotations__[param.name])
    for kind in _kinds(declared):
        if get_origin(kind) is Literal:
            return Field("", "", "", "", "choice", tuple((str(choice), "") for choice in get_args(kind)))
        if kind in (int, float):
            return Field("", "", "", "", "integer" if kind is int else "number", low=info.min, high=info.max)
    return Field("", "", "", "", "text")


def _kinds(declared: Any) -> Iterator[Any]:
    """The types that a declaration such as `list[int] | None` is made of."""
    within = () if get_origin(declared) is Literal else get_args(declared)
    if not within:
        yield declared
    for each in within:
        yield from _kinds(each)


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _name(param: Any) -> str:
    """A parameter as it is written: the long name of an option, an argument as the usage has it."""
    return str((param.metavar or param.name.upper()) if _is_argument(param) else max(param.opts, key=len))
