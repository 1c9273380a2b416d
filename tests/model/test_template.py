"""Chat templates: the published shapes render as they should, and hostile ones get a sentence, soon."""

import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime

import pytest

from model.errors import ModelError
from model.template import MAX_SOURCE, ChatTemplate

HI = [{"role": "user", "content": "hi"}]
TOOL: Mapping[str, object] = {
    "type": "function",
    "function": {"name": "weather", "description": "Wetter in Zürich", "parameters": {"type": "object"}},
}

# The shapes below use what published templates use, construct by construct.

DEFAULT_SYSTEM = """{% for message in messages %}{% if
loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are helpful.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

WITH_TOOLS = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are helpful.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or
            (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

THINKING = """{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and
            not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and reasoning %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n')
                + '\\n</think>\\n\\n' + content + '<|im_end|>\\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

DATED = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{#- The system message may come first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'
            + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at once") }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

ALTERNATING = """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- set users = turns | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in turns %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message["role"] == "user" %}
        {%- if system is defined and message == users[-1] %}
            {{- "[INST] " + system + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- endif %}
{%- endfor %}"""


def turns(*contents: str) -> list[dict[str, object]]:
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(contents)]


def chatml(*pairs: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in pairs)


ASKING = "<|im_start|>assistant\n"


def test_a_default_system_message_is_put_first() -> None:
    template = ChatTemplate(DEFAULT_SYSTEM)
    assert template.render(HI) == chatml(("system", "You are helpful."), ("user", "hi")) + ASKING
    own = [{"role": "system", "content": "S"}, *HI]
    assert template.render(own, add_generation_prompt=False) == chatml(("system", "S"), ("user", "hi"))


def test_tools_are_listed_as_json_with_its_characters_kept() -> None:
    text = ChatTemplate(WITH_TOOLS).render(HI, tools=[TOOL])
    listed = (
        '{"type": "function", "function": {"name": "weather", "description": "Wetter in Zürich", '
        '"parameters": {"type": "object"}}}'
    )
    assert text.startswith(
        f"<|im_start|>system\nYou are helpful.\n\n# Tools\n\n<tools>\n{listed}\n</tools><|im_end|>\n"
    )
    assert text.endswith(chatml(("user", "hi")) + ASKING)


def test_tool_calls_and_their_results_are_written_back() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "<Zürich>"}}}
    messages: list[dict[str, object]] = [
        *turns("hi"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "sun"},
    ]
    assert ChatTemplate(WITH_TOOLS).render(messages) == (
        chatml(("user", "hi"))
        + '<|im_start|>assistant\n<tool_call>\n{"name": "weather", "arguments": {"city": "<Zürich>"}}\n</tool_call>'
        + "<|im_end|>\n<|im_start|>user\n<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n"
        + "</tool_response><|im_end|>\n"
        + ASKING
    )


def test_thinking_is_told_on_off_or_nothing() -> None:
    template = ChatTemplate(THINKING)
    asked = chatml(("user", "hi")) + ASKING
    assert template.render(HI) == template.render(HI, thinking=True) == asked
    assert template.render(HI, thinking=False) == asked + "<think>\n\n</think>\n\n"


def test_earlier_reasoning_is_left_out() -> None:
    messages = turns("hi", "<think>\nhm\n</think>\n\nhello", "and?")
    assert ChatTemplate(THINKING).render(messages) == (
        chatml(("user", "hi"), ("assistant", "hello"), ("user", "and?")) + ASKING
    )


def test_the_date_is_todays() -> None:
    text = ChatTemplate(DATED).render([{"role": "system", "content": " S "}, *HI], tokens={"bos_token": "<bos>"})
    assert text.startswith("<bos><|start_header_id|>system<|end_header_id|>\n\nToday: ")
    assert str(datetime.now().astimezone().year) in text
    assert text.endswith(
        "\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_template_may_insist_on_alternation() -> None:
    template = ChatTemplate(ALTERNATING, "mistral: chat_template.jinja")
    messages = [{"role": "system", "content": "S"}, *turns("a", " b ", "c")]
    assert (
        template.render(messages, tokens={"bos_token": "<s>", "eos_token": "</s>"})
        == "<s>[INST] a[/INST] b</s>[INST] S\n\nc[/INST]"
    )
    with pytest.raises(ModelError) as caught:
        template.render([*HI, *HI], tokens={"bos_token": "<s>", "eos_token": "</s>"})
    assert caught.value.kind == "template"
    assert str(caught.value).startswith("mistral: chat_template.jinja refuses this conversation: roles must alternate")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}", "hi"),
        (
            "{% for n in range(9) %}{% if n == 1 %}{% continue %}{% elif n == 4 %}{% break %}{% endif %}"
            "{{ n }}{% endfor %}",
            "023",
        ),
        ("{% if true %}\n  {% set x = 1 %}\nx\n{% endif %}\n", "x\n"),
        ("{{ {'b': [1, 'ü<'], 'a': none} | tojson(indent=2) }}", '{\n  "b": [\n    1,\n    "ü<"\n  ],\n  "a": null\n}'),
        ("{{ messages | map(attribute='role') | join(', ') }}", "user"),
        ("{{ 'a\nb' | indent(2) }}|{{ 'a\n\nb\n' | indent(1, true) }}", "a\n  b| a\n\n b\n"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice(messages[0].content) }}", "hihi"),
        ("{% macro tag(n) %}<{{ n }}>{{ caller() }}{% endmacro %}{% call tag('b') %}x{% endcall %}", "<b>x"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}", "A1"),
        ("{{ '%s is %d%%' % ('x', 5) }} {{ '%05.1f' | format(2.25) }} {{ '%(a)s' % {'a': 1} }}", "x is 5% 002.2 1"),
        ("{{ '{0} {a:>4} {0!r}'.format('x', a=1) }}", "x    1 'x'"),
        ("{{ 'a-b-c'.replace('-', '+', 1) }} {{ 'abc' | replace('b', '') }}", "a+b-c ac"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'b': 2} | dictsort }}", "a1[('b', 2)]"),
        ("{% for x in [[1, [2]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "12"),
        ("{{ missing }}{{ missing | default('d') }}{{ bos_token }}{{ none }}", "dNone"),
        (
            "{{ [1, 2, 3] | sum }} {{ [3, 1] | sort }} {{ 'a<b' | safe }} {{ 'a<b' | e }} {{ 2.567 | round(1) }}",
            "6 [1, 3] a<b a&lt;b 2.6",
        ),
        (
            "{{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }} {{ 'a b-c' | wordcount }} "
            "{{ '<b>a</b>  b' | striptags }}",
            "[[1, 2], [3, 0]] [[1, 2], [3]] 3 a b",
        ),
        (
            "{{ [1, 2][::-1] }} {{ 'abc'[1:] }} {{ 'ab' * 2 }} {{ [0] * 2 }} {{ 2 ** 10 }} {{ 7 % 4 }}",
            "[2, 1] bc abab [0, 0] 1024 3",
        ),
        (
            "{% set n = namespace(a=[]) %}{% for x in 'ab' %}{% set n.a = n.a + [x] %}{% endfor %}{{ n.a }}",
            "['a', 'b']",
        ),
        (
            "{{ messages[0].get('x', 'y') }} {{ 'content' in messages[0] }} {{ messages[0].keys() | list }}",
            "y True ['role', 'content']",
        ),
    ],
)
def test_the_constructs_in_use_do_what_they_do_elsewhere(source: str, text: str) -> None:
    assert ChatTemplate(source).render(HI) == text


HOSTILE = {
    "a multiplied string": "{{ 'a' * 2000000000 }}",
    "a multiplied list": "{{ [1] * 2000000000 }}",
    "a product the other way round": "{{ 2000000000 * 'a' }}",
    "nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a condition that never holds": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}"
    "{% endfor %}",
    "recursive loops": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "two macros without end": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a block in itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "long fixed text in a loop": "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "long fixed text caught in a variable": "{% set x %}{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}"
    "{% endset %}",
    "replace as a filter": "{% set n = namespace(s='a' * 9) %}{% for i in range(9) %}"
    "{% set n.s = n.s|replace('a', n.s) %}{% endfor %}",
    "replace as a method": "{% set n = namespace(s='a' * 9) %}{% for i in range(9) %}"
    "{% set n.s = n.s.replace('a', n.s) %}{% endfor %}",
    "replace of nothing": "{% set s = 'a' * 99999 %}{{ s.replace('', s) }}",
    "doubling by ~": "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "doubling by +": "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "doubling a list": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "a list of itself twice": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}"
    "{% endfor %}{{ n.s }}",
    "a table of itself twice": "{% set n = namespace(s=1) %}{% for i in range(60) %}{% set n.s = dict(a=n.s, b=n.s) %}"
    "{% endfor %}{{ n.s }}",
    "namespaces in namespaces": "{% set n = namespace(s=1) %}"
    "{% for i in range(60) %}{% set n.s = namespace(a=n.s, b=n.s) %}"
    "{% endfor %}{{ n.s }}",
    "a namespace in itself": "{% set n = namespace() %}{% set n.a = n %}{{ n }}",
    "join as a filter": "{{ (['a' * 99999] * 9999) | join }}",
    "join as a method": "{{ ('a' * 9999).join(range(99999) | map('string')) }}",
    "width by %": "{{ '%1000000000d' % 1 }}",
    "width by % and *": "{{ '%*d' % (1000000000, 1) }}",
    "width by % and a name": "{{ '%(a(b))1000000000s' % {'a(b)': 1} }}",
    "many by %": "{{ ('%(a)s' * 99999) % {'a': 'x' * 99999} }}",
    "width by the filter": "{{ '%1000000000d' | format(1) }}",
    "width by format": "{{ '{:1000000000}'.format('x') }}",
    "width inside format": "{{ '{:{}}'.format('x', 1000000000) }}",
    "width by format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "many by format": "{{ ('{0}' * 99999).format('x' * 99999) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "indent": "{{ ('\n' * 99999) | indent('x' * 99999) }}",
    "indented JSON": "{{ [[1]] | tojson(indent=1000000000) }}",
    "JSON of shared parts": "{% set a = [1] * 999 %}{% set b = [a] * 999 %}{{ ([b] * 999) | tojson }}",
    "a range": "{{ range(1000000000) | list }}",
    "a tower of powers": "{{ 9 ** 999999999 }}",
    "a number from text": "{{ ('1' * 9999999) | int(base=16) }}",
    "rounding": "{{ 1.5 | round(1000000000, 'ceil') }}",
    "bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "sums of lists": "{{ ([[1] * 999] * 999) | sum(start=[]) }}",
    "batches": "{{ [1] | batch(1000000000, 1) | list }}",
    "slices": "{{ [1] | slice(1000000000) | list }}",
    "filler": "{{ lipsum(n=1000000) }}",
    "words counted over and over": "{% set s = 'a ' * 400000 %}"
    "{% for i in range(99) %}{{ s | wordcount }}{% endfor %}",
    "the tags of a long text": "{{ ('<' * 4000000) | striptags }}",
    "batches of strings": "{{ 'abc' | batch(1000000000, 'x' * 9999) | list }}",
    "slices of slices": "{{ range(99999) | slice(90000000, 1) | list }}",
    "a long title": "{{ ('a ' * 4000000) | title }}",
    "a wide date": "{{ strftime_now('%1000000000d') }}",
    "comparing the same long text over and over": "{% set a = 'a' * 9999999 %}"
    "{{ (a ~ 'b') in (range(99999) | map(attribute='x', default=a ~ 'c')) }}",
    "sorting over and over": "{% set l = range(99999) | list %}{% for a in range(99999) %}{{ l | sort | length }}"
    "{% endfor %}",
    "deep brackets": "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
    "deep branches": "{% if true %}" * 3000 + "{% endif %}" * 3000,
    "deep loops": "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    "a long source": " " * (MAX_SOURCE + 1),
}  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.sandbox.meter.MAX_SECONDS", 0.1)
    start = time.thread_time()
    with pytest.raises(ModelError) as caught:
        ChatTemplate(source, "bad: chat_template.jinja").render(HI)
    assert time.thread_time() - start < 2
    assert caught.value.kind == "template"
    assert str(caught.value).startswith("bad: chat_template.jinja ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ '{0.__class__.__mro__}'.format('x').split('.') [5] }}",
        "{{ 'x'.format.__self__.__class__.x }}",
        "{{ (messages | map(attribute='__class__') | first).x }}",
        "{{ '' | attr('__class__') }}",
        "{{ self._TemplateReference__context.environment.x }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ messages[0].clear() }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{{ 'x'.encode() }}",
        "{{ environment.x }}",
        "{{ joiner.__call__.__globals__ }}",
    ],
)
def test_nothing_outside_can_be_reached(source: str) -> None:
    with pytest.raises(ModelError):
        ChatTemplate(source).render(HI)


def test_the_format_trick_of_old_sandboxes_gives_nothing_away() -> None:
    text = ChatTemplate("{{ '{0.__class__}'.format(1) }}{% set f = 'x{}'.format %}{{ f('y') }}").render(HI)
    assert text == "xy"


def test_special_tokens_go_by_their_names() -> None:
    tokens = {"pad_token": "<pad>", "image_token": "<img>", "additional_special_tokens": ["<a>", "<b>"]}
    source = "{{ pad_token }}{{ image_token }}{{ additional_special_tokens | join }}{{ unk_token is defined }}"
    assert ChatTemplate(source).render(HI, tokens=tokens) == "<pad><img><a><b>False"


def test_no_token_can_stand_for_the_conversation() -> None:
    assert ChatTemplate("{{ messages[0].content }}").render(HI, tokens={"messages": "<m>"}) == "hi"


def test_messages_are_not_changed_by_a_rendering() -> None:
    messages = turns("a", "b")
    ChatTemplate("{% set messages = messages[1:] %}{{ messages }}").render(messages)
    assert messages == turns("a", "b")


def test_a_long_conversation_is_no_hostile_template() -> None:
    messages = turns(*["word " * 400] * 1000)
    for source in (DEFAULT_SYSTEM, WITH_TOOLS, THINKING, ALTERNATING):
        assert len(ChatTemplate(source).render(messages, tokens={"bos_token": "", "eos_token": ""})) > 2_000_000


def test_a_mistake_is_told_with_its_line() -> None:
    with pytest.raises(ModelError, match=r"^the chat template failed at line 2: "):
        ChatTemplate("a\n{% for %}").render(HI)
    with pytest.raises(ModelError, match="undefined"):
        ChatTemplate("{{ a.b.c }}").render(HI)


def test_jinja_is_not_imported_before_something_is_rendered() -> None:
    code = "import sys, model.template, model.tokenizer; print([m for m in sys.modules if m in ('jinja2', 'mlx')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
