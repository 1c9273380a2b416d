"""The conversations that RWKV's models were trained on, for checkpoints that bring no template, or one that has others.

Turns are told apart by empty lines and names, not by control tokens. Knows no vocabulary.
"""

from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.template import ChatTemplate
from model.tokenizer_files import RWKV, read_template

_WORLD = {"user": "User", "assistant": "Assistant", "system": "System"}
"""Those of World and G1 models (BlinkDL, RWKV7-G1x-templates.txt)."""
_PILE = {"user": "Bob", "assistant": "Alice", "system": ""}
"""Those of Raven, in which ChatRWKV talks to all models of the Pile's vocabulary."""

_FORMAT = """\
{#- Turns with an empty line between them. -#}
{%- for message in messages -%}
{%- set name = names.get(message.role, names.user) -%}
{{ [name ~ ':' if name else '', message.content | trim] | select | join(' ') }}
{%- if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ names.assistant }}:
{%- endif -%}
"""
_THINKING = """\
{%- if add_generation_prompt and enable_thinking is defined -%}
{{ ' <think' if enable_thinking else ' <think>\\n</think' }}
{%- endif -%}
"""


def conversation_format(folder: Path, config: dict[str, Any], kind: object, world: bool) -> ChatTemplate | None:
    """The checkpoint's own template, but for a World model whose own has no empty line between turns, as was trained.

    There, and where an RWKV has none, the built-in one. `config` is what tokenizer_config.json holds, `kind` the
    model_type, `world` whether its vocabulary is that of the World models.
    """
    own = read_template(folder, config)
    if not world and (own is not None or kind not in RWKV):
        return own
    names = _WORLD if world else _PILE
    if own is not None and _separates(own):
        source, name = own.source, own.name
    else:
        source = f"{{%- set names = {names} -%}}\n{_FORMAT}{_THINKING if world and kind == 'rwkv7' else ''}"
        name = f"{folder.name}: the built-in format of {'World' if world else 'Raven'} models"
    turns = tuple(f"\n\n{who}:" for who in names.values() if who)
    # A space at the end of a prompt, and a tag that is closed there, would be other tokens than those that were
    # trained: the model writes them.
    leads = {f"{names['assistant']}:": " ", "<think": ">\n", "</think": ">\n"}
    return ChatTemplate(source, name, turns=turns, leads=leads)


def _separates(template: ChatTemplate) -> bool:
    turns = [("user", "one"), ("assistant", "two"), ("user", "three")]
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = template.render(messages, tokens={"bos_token": "", "eos_token": ""})
    except ModelError:
        return False
    return all(f"{content}\n\n" in text for _, content in turns)
