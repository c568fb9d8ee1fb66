"""Makes cases.json: templates and what Jinja makes of them, with the settings of
Hugging Face's transformers.

    pip install jinja2 && python make.py
"""
import json
import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    env.globals["raise_exception"] = raise_exception
    return env


VARS = {
    "messages": [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": "Hi <there> & 'you' \"all\"\n\ttab \\ é 你好"},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": [1, 2.5, True, None], "c": {}}}}]},
        {"role": "tool", "content": "4.5"},
        {"role": "user", "content": ""},
    ],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"z": {"type": "number"}, "a": {"type": "string"}}}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    "n": 7, "f": 2.0, "big": 1e20, "small": 1.5e-7, "t": True, "nothing": None, "empty": [], "words": ["b", "A", "c", "A"], "d": {"y": 1, "x": {"k": "v"}, "Z": [1]},
    "s": "  Hello, wide World  ",
}

CASES = r"""
plain text
{{ s }}|{{ s|trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}
{{ 'xxaxx'.strip('x') }} {{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a-b-c'.split('-', 1) }} {{ 'a-b-c'.rsplit('-', 1) }} {{ 'a-b-c'.split('-')[-1] }}
{{ n + 1 }} {{ n - 10 }} {{ n * 3 }} {{ n / 2 }} {{ n // 2 }} {{ -n // 2 }} {{ n % 3 }} {{ -n % 3 }} {{ 2 ** 10 }} {{ -2 ** 2 }} {{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }}
{{ f }} {{ big }} {{ small }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 3 * f }} {{ f // 1 }} {{ 7.5 % 2 }}
{{ t }} {{ nothing }} {{ missing }} {{ empty }} {{ words }} {{ d }} {{ [1, 'a', "it's", none, true, 2.5, {'k': []}] }}
{{ 'a' ~ 1 ~ none ~ missing ~ [1] }} {{ 'ab' * 3 }} {{ 'a' 'b' }} {{ [1] + [2] }} {{ 'a' + 'b' }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 'a' == 1 }} {{ none == none }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ 1 != 2 }} {{ true == 1 }}
{{ 'ell' in s }} {{ 'x' not in s }} {{ 'y' in d }} {{ 2 in [1, 2] }} {{ 'A' in words }} {{ not 1 in [1] }}
{{ t and n }} {{ nothing or 'x' }} {{ not t }} {{ '' or empty or 'last' }} {{ nothing and missing.foo }} {{ 1 if t else 2 }} {{ 1 if not t else 2 if n == 7 else 3 }} [{{ 1 if false }}]
{{ messages[0].role }} {{ messages[0]['content'] }} {{ messages[-1].role }} {{ d.x.k }} {{ d['x']['k'] }} {{ d.nope }} {{ messages[2].tool_calls[0].function.arguments.a[1] }} {{ words.0 }}
{{ words[1:] }} {{ words[:-1] }} {{ words[::-1] }} {{ words[1:3] }} {{ s[2:7] }} {{ s[::-1] }} {{ '你好吗'[1:] }} {{ '你好吗'[-1] }} {{ words[5:] }} {{ words[::2] }} {{ s[100:] }} {{ words[-2:] }}
{{ s is defined }} {{ missing is defined }} {{ missing is undefined }} {{ nothing is none }} {{ nothing is not none }} {{ s is string }} {{ d is mapping }} {{ n is number }} {{ n is integer }} {{ f is float }} {{ t is boolean }} {{ words is sequence }} {{ words is iterable }} {{ d is iterable }} {{ n is iterable }} {{ t is true }} {{ t is false }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is equalto 7 }} {{ n is eq(8) }} {{ 'a' is in ['a'] }} {{ s is string and n is string }} {{ t is number }} {{ raise_exception is callable }} {{ s is mapping or d is mapping }}
{{ words|length }} {{ d|length }} {{ '你好'|length }} {{ words|join }} {{ words|join(', ') }} {{ [1, none, 'x']|join('-') }} {{ words|first }} {{ words|last }} {{ s|upper }} {{ s|lower }} {{ 'hELLO wORLD'|capitalize }} {{ "it's a they're"|title }} {{ s|replace('l', 'L') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ words|reverse|list }} {{ words|unique|list }}
{{ missing|default('x') }} {{ nothing|default('x') }} {{ nothing|default('x', true) }} {{ ''|default('y', boolean=true) }} {{ missing|d }} {{ '3'|int + 1 }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ 2.9|int }} {{ '2.5'|float }} {{ n|string + '!' }} {{ -3|abs }} {{ n|float }} {{ s|list|length }} {{ 'x'|safe }}
{{ tools|tojson }}
{{ tools|tojson(indent=4) }}
{{ messages[1].content|tojson }} {{ messages[2].tool_calls[0].function.arguments|tojson }} {{ [1.0, 1e20, true, none]|tojson }} {{ {}|tojson(indent=2) }} {{ []|tojson(indent=2) }} {{ "\u0007\u007f/"|tojson }}
{{ d|items|map('first')|list }} {{ d.items()|map('last')|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d|dictsort|map('first')|list }} {{ d.get('y') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ dict(a=1, b=2) }} {{ d|list }}
{{ messages|map(attribute='role')|list }} {{ messages|map(attribute='role')|join(',') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'equalto', 'user')|map(attribute='role')|list }} {{ messages|selectattr('tool_calls', 'defined')|list|length }} {{ words|map('lower')|list }} {{ [0, 1, '', 'x']|select|list }} {{ [0, 1, 2]|reject('odd')|list }} {{ messages|selectattr('content')|list|length }} {{ tools|map(attribute='function.name')|first }}
{{ 'a\nb\n\nc'|indent }} {{ 'a\nb'|indent(2, true) }} {{ 'a\n\nb'|indent(width=1, blank=true) }}
{{ 'Hello'.startswith('He') }} {{ 'Hello'.endswith('lo') }} {{ 'Hello'.startswith(('x', 'H')) }} {{ 'hello world'.title() }} {{ 'hELLO'.capitalize() }} {{ 'aXbX'.replace('X', '') }} {{ 'abcabc'.find('c') }} {{ '你c'.find('c') }} {{ 'abc'.find('z') }} {{ 'banana'.count('an') }} {{ ', '.join(words) }} {{ '12'.isdigit() }} {{ '1x'.isdigit() }} {{ 'a\nb\r\nc'.splitlines() }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ s.upper().lower() }}
{% for w in words %}{{ loop.index }}/{{ loop.length }}:{{ w }}{{ ',' if not loop.last }}{% endfor %}
{% for w in words if w != 'A' %}{{ loop.index0 }}{{ w }}{{ loop.first }}{{ loop.revindex }}{% else %}none{% endfor %}{% for w in empty %}x{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in d|dictsort %}{{ k }};{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(3)|list }}{{ range(5, 0, -2)|list }}{{ range(2, 5)|list }}{{ range(0)|list }}
{% for w in words %}{{ loop.previtem }}<{{ w }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }} {% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(found=false, n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c|list }}{% set block %}x{{ n }}y{% endset %}[{{ block }}]{% set up | upper | trim %} abc {% endset %}[{{ up }}]
{% macro greet(name, mark='!') %}Hello {{ name }}{{ mark }}{% endmacro %}{{ greet('A') }} {{ greet('B', '?') }} {{ greet(mark='.', name='C') }} {{ greet() }}
{% macro down(k) %}{{ k }}{% if k > 0 %}{{ down(k - 1) }}{% endif %}{% endmacro %}{{ down(5) }}{% macro glob() %}{{ n }}{{ inner }}{% endmacro %}{% for inner in [1] %}{{ glob() }}{% endfor %}
{% if n > 5 and n < 9 %}yes{% elif n == 5 %}five{% else %}no{% endif %}{% if missing %}x{% endif %}{% if not missing %}y{% endif %}{% if messages[0]['role'] == 'system' %}z{% endif %}
{# a comment #}x{#- another -#} y
{{- s -}} x {{ '{{' }} {{ "}}" }} {{ {'a': {'b': 1}}}}
{% raw %}{{ not }} {% this %}{% endraw %} done
{{ '\n\t\\\'"\x41\u00e9\q' }} {{ "a\
b" }}
{{ 1_000 }} {{ 'x' if n is odd and not n is even else 'y' }} {{ (n is odd)|string }} {{ n|string|length }} {{ -n|abs }} {{ - 3 }}
{{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ (1,)|list }} {{ [] }} {{ ()|list }}
{{ messages[1:]|length }} {{ (messages|length) - 1 }} {{ messages[messages|length - 1].role }} {{ messages|length > 2 }} {{ 'a' ~ 'b'|upper }}
{%- if messages[0].role == 'system' -%}   kept   {%- endif -%}   end
"""

BLOCKS = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n    {% if true %}\n  b\n    {% endif %}  \nc\n\n",
    "a\n  {%+ if true %}\nb{% endif +%}\nc",
    "a  {% if true %}  b  {% endif %}  c",
    "  {{ n }}\n  {# c #}\n  x\n  {#- c -#}\n  y",
    "{% for m in messages -%}\n  {{ m.role }}\n{%- endfor %}\n\nend\n",
    "x {%- if true -%} \n y \n {%- endif -%} z",
    "{% set x %}\n  line\n{% endset %}\n[{{ x }}]",
    "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n",
    "{% raw %}\n  {{ x }}\n{% endraw %}\nz",
    "a\n  {%- raw -%}  q  {%- endraw -%}  \nz",
    "{{ n }}\n{{ n }}\n",
    "\n\n{{ n }}\n\n",
    "a{% filter upper | trim %}\n x {{ n }}y \n{% endfilter %}b",
    "{% generation %}x{% endgeneration %}",
]

env = environment()


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


env.add_extension(Generation)
out = []
lines = CASES.strip("\n").replace('"a\\\nb"', '"a\\\x00b"').split("\n")
for source in [l.replace("\x00", "\n") for l in lines] + BLOCKS:
    out.append({"source": source, "want": env.from_string(source).render(**VARS)})
json.dump({"vars": VARS, "cases": out}, open("cases.json", "w"), indent=1, ensure_ascii=False)
