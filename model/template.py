"""A checkpoint's chat template: messages in, the prompt's text out.

The template is the checkpoint's own Jinja source, a stranger's program; sandbox.py is where it runs. This
file knows no tokenizer. Jinja is imported when something is rendered, not before.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from model.errors import ModelError, one_line

if TYPE_CHECKING:
    from jinja2 import Template

MAX_SOURCE = 256_000
"""Characters. Published templates stay below a tenth of it."""


class ChatTemplate:
    """One chat template. `name` is what errors call it."""

    def __init__(
        self,
        source: str,
        name: str = "the chat template",
        *,
        turns: tuple[str, ...] = (),
        leads: Mapping[str, str] | None = None,
    ) -> None:
        """What follows is for formats that tell turns apart by words, and not by control tokens.

        `turns`: what they begin with, a blank line first, and first the person's; `leads`: what an answer begins with
        that is no part of it, by what the prompt ends with.
        """
        self.source = source
        self.name = name
        self.turns = turns
        self.leads = dict(leads or {})

    @property
    def stops(self) -> tuple[str, ...]:
        """What a model writes behind an answer of its, where no token ends one."""
        return self.turns[:1]

    def tidied(self, role: str, content: str) -> str:
        """`content` as it may stand in a turn, such that it begins no other: with line breaks for blank lines.

        The answers of a model keep theirs, as long as they begin no turn.
        """
        if not self.turns or (role == "assistant" and not any(turn in content for turn in self.turns)):
            return content
        return "\n".join(filter(None, content.replace("\r\n", "\n").split("\n")))

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        tokens: Mapping[str, object] | None = None,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, object]] | None = None,
    ) -> str:
        """The prompt's text. ModelError(kind="template") where the template fails, refuses or overspends.

        `tokens` are special tokens by the names that templates know ("bos_token"). `thinking` is passed by the names in
        use, `enable_thinking` and `thinking`, and left out where it is None.
        """
        from model.sandbox import OverBudgetError, RefusalError, budget

        variables: dict[str, object] = {
            **(tokens or {}),
            "messages": [dict(message) for message in messages],
            "tools": None if tools is None else [dict(tool) for tool in tools],
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        if thinking is not None:
            variables["enable_thinking"] = variables["thinking"] = thinking
        try:
            with budget(_characters(variables)):
                return _compiled(self.source).render(variables)
        except OverBudgetError as error:
            problem, way_out = str(error), "it was stopped; use another version of this model"
        except RefusalError as error:
            problem, way_out = f"refuses this conversation: {one_line(str(error), 200)}", ""
        except RecursionError:
            problem, way_out = "is nested too deeply", "use another version of this model"
        except Exception as error:
            # Whatever a stranger's program raises: Jinja's errors, but also TypeError, MemoryError, SyntaxError.
            line = getattr(error, "lineno", None)
            where = f" at line {line}" if isinstance(line, int) else ""
            problem = f"failed{where}: {one_line(str(error) or type(error).__name__, 200)}"
            way_out = "use another version of this model"
        sentence = f"{self.name} {problem}; {way_out}" if way_out else f"{self.name} {problem}"
        raise ModelError(sentence, kind="template")


@lru_cache(maxsize=8)
def _compiled(source: str) -> "Template":
    from model.sandbox import OverBudgetError, TemplateEnvironment

    if len(source) > MAX_SOURCE:
        raise OverBudgetError(f"is {len(source)} characters long, at most {MAX_SOURCE} are run")
    return TemplateEnvironment().from_string(source)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_characters(key) + _characters(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(map(_characters, value))
    return 8
