package jinja_test

import (
	"errors"
	"strings"
	"testing"

	"atoll/internal/llm/chat/jinja"
)

func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"{{", "{{ a", "{{ }}", "{{ a b }}", "{{ a + }}", "{{ (a }}", "{{ a) }}", "{{ [1, 2 }}", "{{ {'a' 1} }}", "{{ 'a }}", "{{ a. }}", "{{ a.'b' }}", "{{ a[] }}", "{{ a[1 }}",
		"{{ a | }}", "{{ a | nosuchfilter }}", "{{ a is nosuchtest }}", "{{ f(a=1, 2) }}", "{{ ! }}", "{{ if }}", "{{ 99999999999999999999 }}", "{{ 1e999 }}",
		"{%", "{% if %}", "{% if a %}", "{% if a %}{% endfor %}", "{% if a %}{% else %}{% elif b %}{% endif %}", "{% endif %}", "{% for %}", "{% for a b %}{% endfor %}",
		"{% for a in b %}", "{% for 1 in b %}{% endfor %}", "{% set %}", "{% set a %}", "{% set a, b %}x{% endset %}", "{% set 1 = 2 %}", "{% macro %}{% endmacro %}", "{% macro f( %}{% endmacro %}",
		"{# no end", "{% raw %} no end", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block x %}{% endblock %}", "{% call f() %}{% endcall %}", "{% do f() %}",
		"{% set a | nosuchfilter %}{% endset %}", "{% filter nosuchfilter %}{% endfilter %}",
		strings.Repeat("(", 1000), "{{ " + strings.Repeat("(", 1000), "{{ " + strings.Repeat("not ", 1000) + "a }}", "{{ " + strings.Repeat("-", 1000) + "1 }}", "{{ " + strings.Repeat("[", 1000) + " }}",
		strings.Repeat("{% if a %}", 1000), "{{ a" + strings.Repeat(" if b else c", 1000) + " }", strings.Repeat("x", 1<<19),
	} {
		if source == strings.Repeat("(", 1000) {
			continue // plain text
		}
		if _, err := jinja.Parse(source); !errors.Is(err, jinja.ErrTemplate) {
			t.Errorf("%.60s: %v, want ErrTemplate", source, err)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	_, vars := load(t)
	for _, c := range []struct{ source, want string }{
		{"x\n{{ missing.x }}", `line 2: "missing" is undefined`},
		{"{{ missing() }}", "missing is no function"},
		{"{{ d.x.y() }}", "d.x.y is no function"},
		{"{{ 1 + 'a' }}", "a number + a string"},
		{"{{ 'a' + 1 }}", "a string + a number"},
		{"{{ 'a' + none }}", "a string + none"},
		{"{{ 'a' < 1 }}", "a string < a number"},
		{"{{ 1 in 2 }}", "in a number"},
		{"{{ 1 / 0 }}", "division by 0"},
		{"{{ 1 % 0 }}", "division by 0"},
		{"{{ 9 ** 99 }}", "63 bits"},
		{"{{ -'a' }}", "- before a string"},
		{"{% for x in 5 %}{% endfor %}", "a number has no elements"},
		{"{% for a, b in words %}{% endfor %}", "unpacked"},
		{"{% set d.q = 1 %}", "d is no namespace"},
		{"{{ {1: 2} }}", "keys must be strings"},
		{"{{ words[::0] }}", "steps of 0"},
		{"{{ words['a':] }}", "as its end"},
		{"{{ n[1:] }}", "no slices"},
		{"{{ range() }}", "range"},
		{"{{ range(1, 2, 0) }}", "steps of 0"},
		{"{{ 'a'.split('') }}", "split at nothing"},
		{"{{ 'a'.replace('a') }}", "argument 2"},
		{"{{ d.get() }}", "get with 0"},
		{"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "takes 1 arguments"},
		{"{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "no parameter"},
		{"{{ words | map('nosuchfilter') | list }}", "map by"},
		{"{{ words | select('nosuchtest') | list }}", "nosuchtest"},
		{"{{ n | items }}", "items of"},
		{"{{ missing | tojson }}", "tojson of undefined"},
		{"{{ 'a' | abs }}", "abs of"},
		{"{{ 1 is divisibleby 0 }}", "remainder"},
		{"{{ 1 is in }}", "0 arguments"},
	} {
		if _, err := render(c.source, vars); !errors.Is(err, jinja.ErrTemplate) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want ErrTemplate and %q", c.source, err, c.want)
		}
	}
	var raised *jinja.RaisedError
	if _, err := render("{{ raise_exception('Roles must alternate, ' ~ n) }}", vars); !errors.As(err, &raised) || raised.Message != "Roles must alternate, 7" {
		t.Errorf("%v, want what the template raised", err)
	}
}

// Whatever a hostile template tries, it ends, with an error, in bounded memory and
// soon.
func TestHostile(t *testing.T) {
	t.Parallel()
	hundred := "{% for i in range(100) %}"
	for name, source := range map[string]string{
		"doubling a string":   "{% set ns = namespace(x='aaaaaaaa') %}" + hundred + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"doubling by ~":       "{% set ns = namespace(x='aaaaaaaa') %}" + hundred + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
		"doubling a list":     "{% set ns = namespace(x=[1]) %}" + hundred + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
		"multiplying":         "{{ 'a' * 99999999999 }}",
		"multiplying twice":   "{{ ('a' * 1000000) * 1000000 }}",
		"a long range":        "{{ range(99999999999)|list }}",
		"loops in loops":      strings.Repeat("{% for i in range(100000) %}", 5) + strings.Repeat("{% endfor %}", 5),
		"lists in lists":      "{% set ns = namespace(x=[]) %}" + hundred + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
		"comparing those":     "{% set a = namespace(x=[]) %}{% set b = namespace(x=[]) %}" + hundred + "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}",
		"JSON of those":       "{% set ns = namespace(x=[]) %}" + hundred + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson(indent=100) }}",
		"very deep lists":     "{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
		"endless macros":      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"macros that branch":  "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
		"replacing by much":   "{{ ('a' * 10000).replace('a', 'a' * 100000) }}",
		"joining by much":     "{{ range(100000)|join('a' * 100000) }}",
		"indenting much":      "{{ ('\\n' * 1000000)|indent(1000) }}",
		"searching for long":  "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{{ 'b' in s }}{% endfor %}",
		"stripping sets":      "{% set s = 'a' * 1000000 %}{{ s.strip(s[1:] ~ 'a') }}{% for i in range(1000) %}{{ s.strip('b' * 100000) }}{% endfor %}",
		"letters one by one":  "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{{ s[i] }}{% endfor %}",
		"printing much":       "{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}",
		"capturing much":      "{% set x %}{% for i in range(100000) %}{% for j in range(1000) %}aaaaaaaaaaaaaaaa{% endfor %}{% endfor %}{% endset %}",
		"upper of upper":      "{% set ns = namespace(x='a' * 1000000) %}{% for i in range(100000) %}{% set ns.x = ns.x|upper %}{% endfor %}",
		"unique of many":      "{{ range(100000)|unique|list }}",
		"a power of minus 1":  "{% for i in range(100000) %}{% for j in range(1000) %}{{ (-1) ** 2000000000 }}{% endfor %}{% endfor %}",
		"splitting and such":  "{% set s = 'a ' * 1000000 %}{% for i in range(100000) %}{{ s.split()|length }}{% endfor %}",
		"selecting in vain":   "{% for i in range(100000) %}{{ range(100000)|select('gt', 100000)|list }}{% endfor %}",
		"adding to a mapping": "{% set ns = namespace() %}{% for i in range(100000) %}{% for j in range(1000) %}{{ dict(a=i)|length }}{% endfor %}{% endfor %}",
	} {
		out, err := render(source, nil)
		if !errors.Is(err, jinja.ErrLimit) && !errors.Is(err, jinja.ErrTemplate) {
			t.Errorf("%s: %d bytes and %v, want an error", name, len(out), err)
		}
	}
}

func TestFromJSON(t *testing.T) {
	t.Parallel()
	v, err := jinja.FromJSON([]byte(` {"b": [1, 2.5, "x", true, null], "a": {}} `))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := render("{{ v|tojson }}", map[string]jinja.Value{"v": v}); got != `{"b": [1, 2.5, "x", true, null], "a": {}}` || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "{", "[1,]", `{"a":1,"a":2}`, "1 2", "nul", `{"a"}`, "1e999", strings.Repeat("[", 1000) + strings.Repeat("]", 1000)} {
		if v, err := jinja.FromJSON([]byte(bad)); err == nil {
			t.Errorf("%.40s was read as %v", bad, v)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	g, vars := load(f)
	for _, c := range g.Cases {
		f.Add(c.Source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := jinja.Parse(source)
		if err != nil {
			if !errors.Is(err, jinja.ErrTemplate) {
				t.Fatal(err)
			}
			return
		}
		out, err := tmpl.Render(vars, jinja.Limits{Steps: 20000, Memory: 1 << 20, Output: 1 << 16})
		var raised *jinja.RaisedError
		if err != nil && !errors.Is(err, jinja.ErrTemplate) && !errors.Is(err, jinja.ErrLimit) && !errors.As(err, &raised) {
			t.Fatal(err)
		}
		if len(out) > 1<<16 {
			t.Fatalf("%d bytes of output", len(out))
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"b": [1, 2.5, "x\u00e9", true, null], "a": {}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := jinja.FromJSON(b)
		if err != nil {
			return
		}
		out, err := render("{{ v|tojson }}", map[string]jinja.Value{"v": v})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jinja.FromJSON([]byte(out)); err != nil {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
	})
}
