package jinja_test

import (
	"encoding/json"
	"os"
	"testing"

	"atoll/internal/llm/chat/jinja"
)

// golden is what Jinja itself renders; see testdata/make.py.
type golden struct {
	Vars  json.RawMessage
	Cases []struct{ Source, Want string }
}

func load(t testing.TB) (golden, map[string]jinja.Value) {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g, variables(t, g.Vars)
}

func variables(t testing.TB, raw []byte) map[string]jinja.Value {
	t.Helper()
	v, err := jinja.FromJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	var names map[string]any
	if err := json.Unmarshal(raw, &names); err != nil {
		t.Fatal(err)
	}
	vars := map[string]jinja.Value{}
	for k := range names {
		vars[k], _ = v.(*jinja.Dict).Get(k)
	}
	return vars
}

func render(source string, vars map[string]jinja.Value) (string, error) {
	t, err := jinja.Parse(source)
	if err != nil {
		return "", err
	}
	return t.Render(vars, jinja.DefaultLimits)
}

func TestAsJinja(t *testing.T) {
	t.Parallel()
	g, vars := load(t)
	for _, c := range g.Cases {
		got, err := render(c.Source, vars)
		if err != nil {
			t.Errorf("%s\n%v", c.Source, err)
		} else if got != c.Want {
			t.Errorf("%s\n%q, want\n%q", c.Source, got, c.Want)
		}
	}
}
