"""Jinja's environment for chat templates: what may be reached and called, and that loops and operators pay."""

import re
from collections.abc import Callable
from types import BuiltinMethodType
from typing import Any

from jinja2 import Environment, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from model.sandbox.filters import TEMPLATE_FILTERS, priced_filter, refuse, strftime_now
from model.sandbox.meter import MAX_BITS, MAX_DEPTH, MAX_WEIGHT, OverBudgetError, current_meter
from model.sandbox.values import GROWING_METHODS, Formatter, as_text, joined, paid, percent

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
        self.filters = {name: priced_filter(plain) for name, plain in TEMPLATE_FILTERS.items()}
        self.globals.pop("lipsum")
        self.globals.update(raise_exception=refuse, strftime_now=strftime_now)

    @staticmethod
    @pass_context  # which also keeps Jinja from running it at compile time
    def _output(context: Context, value: Any) -> str:
        text = as_text(value)
        current_meter().write(len(text))
        return text

    @staticmethod
    def spent(characters: int) -> None:
        """A stretch of the template's own text is about to be written."""
        current_meter().write(characters)

    @staticmethod
    def turn() -> bool:
        """One more item is looked at by a loop's condition."""
        current_meter().step()
        return True

    @staticmethod
    def built(value: Any) -> Any:
        """A list, tuple or table written in the template."""
        current_meter().weigh(value)
        return value

    made = staticmethod(paid)

    @staticmethod
    def concatenated(parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        return joined("", [as_text(part) for part in parts])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = current_meter()
        meter.step()
        if operator == "%" and isinstance(left, str):
            return percent(left, right)
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
        return paid(result) if isinstance(result, int) else result

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter = current_meter()
        meter.step()
        if meter.depth >= MAX_DEPTH:
            raise OverBudgetError(f"calls itself more than {MAX_DEPTH} levels deep")
        meter.depth += 1
        try:
            if isinstance(obj, BuiltinMethodType) and isinstance(obj.__self__, str):
                growing = GROWING_METHODS.get(obj.__name__)
                if growing is not None:
                    kwargs = {name: value for name, value in kwargs.items() if name not in _JINJA_ARGUMENTS}
                    return growing(obj.__self__, *args, **kwargs)
            result = super().call(context, obj, *args, **kwargs)
            return self.built(result) if obj is dict else paid(result)
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
            current_meter().write(len(pattern))
            if mapped:
                (kwargs,), args = args, ()
            return str(Formatter(self).vformat(pattern, args, kwargs))

        return format_within_budget
