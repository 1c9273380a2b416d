"""The room a chat template runs in: Jinja's immutable sandbox with budgets that hold.

A template is a stranger's program. Jinja's sandbox keeps it from reaching Python; this module keeps it from
eating the machine. An alarm does not stop `'a' * 2000000000`, one call into C, so everything that can grow
is priced before it is done, and whatever repeats is counted. It knows no tokenizer, and only template.py
imports it, when there is something to render.
"""

import html
import json
import re
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from itertools import pairwise
from types import BuiltinMethodType, GeneratorType
from typing import Any

from jinja2 import Environment, nodes, pass_context, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace

MAX_STEPS = 10_000_000
"""Loop turns, calls, operations, and items of the values that they make, in one rendering."""
MAX_CHARACTERS = 48_000_000
"""Of text made in one rendering, over and above `CHARACTERS_PER_INPUT` times what the conversation holds."""
CHARACTERS_PER_INPUT = 24
MAX_WEIGHT = 1_000_000
"""Of one list or table: its items, nested ones as often as they are seen, and a 64th of its text."""
MAX_SECONDS = 3.0
"""Of this thread's processor time, so that a busy machine fails no honest template."""
MAX_DEPTH = 60
MAX_BITS = 4096
"""Of a whole number."""

_CHECK_EVERY = 64
"""Steps between two looks at the clock."""


class OverBudgetError(Exception):
    """The template wants more than a rendering may cost. The message completes "the template ..."."""


class RefusalError(Exception):
    """The template called raise_exception: it does not take this conversation."""


class Meter:
    """What one rendering has cost so far."""

    def __init__(self, characters: int) -> None:
        self.steps = MAX_STEPS
        self.characters = characters
        self.depth = 0
        self._next_look = self.steps - _CHECK_EVERY
        self._end = time.thread_time() + MAX_SECONDS

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise OverBudgetError("does too much work")
        if self.steps < self._next_look:
            self._next_look = self.steps - _CHECK_EVERY
            if time.thread_time() > self._end:
                raise OverBudgetError(f"does not finish within {MAX_SECONDS:.0f} s")

    def write(self, characters: int) -> None:
        """Pays for text before it is made."""
        self.step(1 + characters // 4096)
        self.characters -= characters
        if self.characters < 0:
            raise OverBudgetError("makes too much text")

    def weigh(self, value: Any) -> int:
        """The weight of a value as a tree, paid for. Shared parts count each time they are seen."""
        weight, pending = 0, [value]
        while pending:
            item = pending.pop()
            weight += 1
            if isinstance(item, str):
                weight += len(item) // 64
            elif isinstance(item, (list, tuple)):
                pending.extend(item)
            elif isinstance(item, dict):
                pending.extend(item)
                pending.extend(item.values())
            elif isinstance(item, Namespace):
                pending.append(object.__getattribute__(item, "_Namespace__attrs"))
            if weight + len(pending) > MAX_WEIGHT:
                raise OverBudgetError("builds too large a value")
        self.step(weight)
        return weight


_current: ContextVar[Meter] = ContextVar("meter")


@contextmanager
def budget(input_characters: int) -> Iterator[None]:
    """Within it, this thread's templates are compiled and rendered at the cost of one fresh budget."""
    token = _current.set(Meter(MAX_CHARACTERS + CHARACTERS_PER_INPUT * input_characters))
    try:
        yield
    finally:
        _current.reset(token)


# --- values -------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    """`value` as text, paid for unless it was text already."""
    if isinstance(value, str):
        return value
    meter = _current.get()
    if isinstance(value, (list, tuple, dict, Namespace)):
        meter.weigh(value)
    elif isinstance(value, (KeysView, ValuesView, ItemsView)):
        meter.weigh(list(value))
    text = str(value)
    meter.write(len(text))
    return text


def _made(value: Any) -> Any:
    """A value that an operation has just handed out, paid for; what comes lazily is paid for item by item."""
    meter = _current.get()
    if isinstance(value, str):
        meter.write(len(value))
    elif isinstance(value, (list, tuple, dict)):
        meter.step(len(value))
    elif isinstance(value, Namespace):
        meter.weigh(value)
    elif isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise OverBudgetError("makes too large a number")
    elif isinstance(value, GeneratorType):
        return _metered(value)
    return value


def _metered(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _current.get().weigh(item)
        yield item


def _width(value: Any) -> int:
    return value if isinstance(value, int) else 0  # anything else is the callee's TypeError


def _replaced(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    if count is not None and count >= 0:
        found = min(found, count)
    _current.get().write(len(text) + found * max(0, len(new) - len(old)))
    return text.replace(old, new, found)


def _joined(separator: str, items: Iterable[Any]) -> str:
    texts = list(items)
    meter = _current.get()
    meter.step(len(texts))
    meter.write(sum(len(text) for text in texts) + len(separator) * len(texts))
    return separator.join(texts)


def _padded(name: str) -> Callable[..., str]:
    def pad(text: str, width: int, *fill: str) -> str:
        _current.get().write(max(len(text), _width(width)))
        return str(getattr(text, name)(width, *fill))

    return pad


_GROWING_METHODS: dict[str, Callable[..., str]] = {
    "replace": _replaced,
    "join": _joined,
    **{name: _padded(name) for name in ("center", "ljust", "rjust", "zfill")},
}

_STR_METHODS = """
    capitalize casefold center count endswith find format format_map index isalnum isalpha isascii
    isdecimal isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition
    removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith
    strip swapcase title upper zfill
"""

_ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(re.findall(r"\w+", _STR_METHODS)),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index", "grouper", "list"}),  # the last two: what `groupby` makes
}
"""What may be reached on plain values. `int.to_bytes`, `str.translate` and their like are bombs."""

_JINJA_ARGUMENTS = frozenset({"_loop_vars", "_block_vars"})
"""What compiled templates add to calls in loops and blocks; Jinja's own `call` takes them out again."""

_HELPERS = (LoopContext, Macro, Namespace, Cycler, Joiner, Undefined)

_LONG_NUMBER = re.compile(r"\d{4,}[hlL]*[diouxXeEfFgGcrsa%]")


def _percent(pattern: str, values: Any) -> str:
    """`pattern % values`, with its longest possible result paid for beforehand."""
    if isinstance(values, Mapping):
        listed = list(values.values())
    else:
        listed = list(values) if isinstance(values, tuple) else [values]
    starred = "*" in pattern and any(isinstance(value, int) and abs(value) > 999 for value in listed)
    if starred or _LONG_NUMBER.search(pattern):
        raise OverBudgetError("pads text too widely")
    longest = max((len(_text(value)) for value in listed), default=0)
    _current.get().write(len(pattern) + pattern.count("%") * (1500 + 10 * longest))  # %a writes one as ten
    return str(pattern % values)


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if re.search(r"\d{4,}", format_spec):
            raise OverBudgetError("pads text too widely")
        text = str(super().format_field(value if isinstance(value, (str, int, float)) else _text(value), format_spec))
        _current.get().write(len(text))
        return text

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(value if conversion is None else _text(value), conversion)


# --- filters and globals ------------------------------------------------------------------------------------


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' templates expect it: characters as they are, no HTML escapes."""
    meter = _current.get()
    meter.weigh(value)
    if isinstance(indent, (int, str)) and (len(indent) if isinstance(indent, str) else indent) > 16:
        raise OverBudgetError("indents too widely")
    if separators is not None and sum(len(part) for part in separators) > 16:
        raise OverBudgetError("separates too widely")
    encoder = json.JSONEncoder(
        ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys)
    )
    pieces = []
    for piece in encoder.iterencode(value):
        meter.write(len(piece))
        pieces.append(piece)
    return "".join(pieces)


@pass_environment
def _join(environment: Any, value: Any, d: Any = "", attribute: Any = None) -> str:
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return _joined(_text(d), (_text(item) for item in items))


def _indent(s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    if not isinstance(width, str) and _width(width) > 1000:
        raise OverBudgetError("indents too widely")
    text, margin = _text(s), width if isinstance(width, str) else " " * width
    lines = text.splitlines() or [""]
    if text.endswith("\n"):
        lines.append("")
    meter = _current.get()
    meter.step(len(lines))
    meter.write(len(text) + len(margin) * len(lines))
    indented = [margin + line if line or blank else line for line in lines]
    if not first:
        indented[0] = lines[0]
    elif not indented[0]:
        indented[0] = margin
    return "\n".join(indented)


@pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise OverBudgetError("adds up something other than numbers")
    return FILTERS["sum"](environment, iterable, attribute, start)


def _round(value: Any, precision: Any = 0, method: str = "common") -> Any:
    if not isinstance(precision, int) or abs(precision) > 30:
        raise OverBudgetError("rounds too finely")
    return FILTERS["round"](value, precision, method)


def _of_text(name: str) -> Callable[..., Any]:
    plain = FILTERS[name]

    def of_text(value: Any, *args: Any, **kwargs: Any) -> Any:
        return plain(_text(value), *args, **kwargs)

    return of_text


def _title(value: Any) -> Any:
    text = _text(value)
    if len(text) > 100_000:  # Jinja takes a microsecond for each word, and nobody shouts for so long
        raise OverBudgetError("makes a title of too long a text")
    return FILTERS["title"](text)


def _batch(value: Any, linecount: Any, fill_with: Any = None) -> Any:
    _current.get().step(0 if fill_with is None else max(0, _width(linecount)))  # it fills the last one at once
    return FILTERS["batch"](value, linecount, fill_with)


def _slice(value: Any, slices: int, fill_with: Any = None) -> list[list[Any]]:
    """Columns: as long as each other, or the first ones longer by one; the others filled up."""
    items = list(value)
    _current.get().step(len(items) + max(0, _width(slices)))
    length, longer = divmod(len(items), slices)
    starts = [n * length + min(n, longer) for n in range(slices + 1)]
    columns = [items[start:end] for start, end in pairwise(starts)]
    if fill_with is not None:
        for column in columns[longer:]:
            column.append(fill_with)
    return columns


def _striptags(value: Any) -> str:
    text = _text(value)
    if len(text) > 100_000:  # it copies the text for each tag
        raise OverBudgetError("strips the tags of too long a text")
    return str(FILTERS["striptags"](text))


def _wordcount(value: Any) -> int:
    text = _text(value)
    _current.get().step(len(text) // 2)  # as many as words at most
    return sum(1 for _ in re.finditer(r"\w+", text))


@pass_environment
def _truncate(environment: Any, s: Any, *args: Any, **kwargs: Any) -> Any:
    return FILTERS["truncate"](environment, _text(s), *args, **kwargs)


_JINJA_FILTERS = """
    abs count d default dictsort first float groupby int items last length list map max min reject rejectattr
    reverse select selectattr sort unique
"""

_FILTERS: dict[str, Callable[..., Any]] = {
    # Autoescaping is off, so "safe" text is text; nothing here ever makes Markup, whose operators grow.
    "string": _text,
    "safe": _text,
    **dict.fromkeys(("e", "escape", "forceescape"), lambda value: html.escape(_text(value))),
    "center": lambda value, width=80: _padded("center")(_text(value), width),
    "format": lambda value, *args, **kwargs: _percent(_text(value), kwargs or args),
    "indent": _indent,
    "join": _join,
    "replace": lambda s, old, new, count=None: _replaced(
        _text(s), _text(old), _text(new), -1 if count is None else count
    ),
    "round": _round,
    "sum": _sum,
    "tojson": _tojson,
    "truncate": _truncate,
    **{name: _of_text(name) for name in ("capitalize", "lower", "trim", "upper")},
    "title": _title,
    "batch": _batch,
    "slice": _slice,
    "striptags": _striptags,
    "wordcount": _wordcount,
    **{name: FILTERS[name] for name in re.findall(r"\w+", _JINJA_FILTERS)},
}
"""The filters of chat templates. Jinja's others are for web pages, and several can be made to explode."""


def _priced(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)  # also copies the marks by which Jinja passes its environment
    def priced(*args: Any, **kwargs: Any) -> Any:
        meter = _current.get()
        for value in args:
            if isinstance(value, (list, tuple, dict)):
                meter.step(len(value))
        return _made(plain(*args, **kwargs))

    return priced


def _refuse(message: Any = "") -> str:
    raise RefusalError(_text(message))


def _strftime_now(pattern: str) -> str:
    # The C library takes widths ("%9999999d"), so a directive is one letter here.
    if len(pattern) > 200 or re.search(r"%(?![-#]?[a-zA-Z%])", pattern):
        raise OverBudgetError("asks for a date in an impossible form")
    return datetime.now().astimezone().replace(tzinfo=None).strftime(pattern)


# --- the environment ----------------------------------------------------------------------------------------


class _CountingCode(CodeGenerator):
    """Compiles templates so that loops count their turns and whatever makes a value pays for it."""

    def get_visitor(self, node: nodes.Node) -> Any:
        return getattr(self, f"counted_{type(node).__name__.lower()}", None) or super().get_visitor(node)

    def counted_for(self, node: nodes.For, frame: Frame) -> None:
        # An empty output is a step (below). A loop's condition runs for items that never reach the body.
        node.body.insert(0, nodes.Output([], lineno=node.lineno))
        if node.test is not None:
            turn = nodes.Call(nodes.EnvironmentAttribute("turn"), [], [], None, None)
            node.test = nodes.And(turn, node.test).set_lineno(node.lineno)
        super().visit_For(node, frame)

    def counted_output(self, node: nodes.Output, frame: Frame) -> None:
        fixed = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        self.writeline(f"environment.spent({fixed})", node)
        super().visit_Output(node, frame)

    def counted_list(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.built(")
        super().visit_List(node, frame)
        self.write(")")

    def counted_dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.built(")
        super().visit_Dict(node, frame)
        self.write(")")

    def counted_tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx != "load":  # the left side of an assignment
            super().visit_Tuple(node, frame)
            return
        self.write("environment.built(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def counted_getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.made(")
        super().visit_Getitem(node, frame)
        self.write(")")

    def counted_concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Generation(Extension):
    """`{% generation %}`, by which templates mark answers for training: its body is rendered as it stands."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as chat templates expect it (transformers' settings). Only for use within `budget`."""

    code_generator_class = _CountingCode
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
            optimized=False,  # folding constants would run filters while compiling
            finalize=self._output,
            cache_size=0,
        )
        self.filters = {name: _priced(plain) for name, plain in _FILTERS.items()}
        self.globals.pop("lipsum")
        self.globals.update(raise_exception=_refuse, strftime_now=_strftime_now)

    @staticmethod
    @pass_context  # which also keeps Jinja from running it at compile time
    def _output(context: Context, value: Any) -> str:
        text = _text(value)
        _current.get().write(len(text))
        return text

    @staticmethod
    def spent(characters: int) -> None:
        """A stretch of the template's own text is about to be written."""
        _current.get().write(characters)

    @staticmethod
    def turn() -> bool:
        """One more item is looked at by a loop's condition."""
        _current.get().step()
        return True

    @staticmethod
    def built(value: Any) -> Any:
        """A list, tuple or table written in the template."""
        _current.get().weigh(value)
        return value

    made = staticmethod(_made)

    @staticmethod
    def concatenated(parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        return _joined("", [_text(part) for part in parts])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = _current.get()
        meter.step()
        if operator == "%" and isinstance(left, str):
            return _percent(left, right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            meter.write(len(left) + len(right))
        elif operator == "*":
            for many, count in ((left, right), (right, left)):
                if isinstance(many, str) and isinstance(count, int):
                    meter.write(len(many) * max(0, count))
                elif isinstance(many, (list, tuple)) and isinstance(count, int):
                    weight = meter.weigh(many) * max(0, count)
                    if weight > MAX_WEIGHT:
                        raise OverBudgetError("builds too large a value")
                    meter.step(weight)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > MAX_BITS:
                raise OverBudgetError("makes too large a number")
        elif operator == "+" and isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            meter.weigh((left, right))
        result = super().call_binop(context, operator, left, right)
        return _made(result) if isinstance(result, int) else result

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter = _current.get()
        meter.step()
        if meter.depth >= MAX_DEPTH:
            raise OverBudgetError(f"calls itself more than {MAX_DEPTH} levels deep")
        meter.depth += 1
        try:
            if isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, str):
                growing = _GROWING_METHODS.get(obj.__name__)
                if growing is not None:
                    kwargs = {name: value for name, value in kwargs.items() if name not in _JINJA_ARGUMENTS}
                    return growing(obj.__self__, *args, **kwargs)
            result = super().call(context, obj, *args, **kwargs)
            return self.built(result) if obj is dict else _made(result)
        finally:
            meter.depth -= 1

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        for kind, allowed in _ATTRIBUTES.items():
            if isinstance(obj, kind):
                return attr in allowed
        return isinstance(obj, _HELPERS)

    def is_safe_callable(self, obj: Any) -> bool:
        known = not isinstance(obj, type) or obj in (dict, Namespace, Cycler, Joiner)
        return known and super().is_safe_callable(obj)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        pattern: str = value.__self__
        mapped = value.__name__ == "format_map"

        def format_within_budget(*args: Any, **kwargs: Any) -> str:
            _current.get().write(len(pattern))
            if mapped:
                (kwargs,), args = args, ()
            return str(_Formatter(self).vformat(pattern, args, kwargs))

        return format_within_budget


__all__ = ["OverBudgetError", "RefusalError", "SecurityError", "TemplateEnvironment", "budget"]
