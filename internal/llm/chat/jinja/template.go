package jinja

import "maps"

import "fmt"

// Template is a parsed template. It is immutable and may be rendered by many
// goroutines at once.
type Template struct{ body block }

// Parse reads a template.
func Parse(source string) (t *Template, err error) {
	defer caught(&err)
	if len(source) > maxSource {
		return nil, fmt.Errorf("%w: %d bytes, over %d", ErrTemplate, len(source), maxSource)
	}
	p := &parser{tokens: lex(source)}
	body, _ := p.body()
	return &Template{body}, nil
}

// Render renders the template with the variables given, beside the functions of
// functions.go. Errors wrap [ErrTemplate], [ErrLimit] or are a [RaisedError].
func (t *Template) Render(vars map[string]Value, limits Limits) (out string, err error) {
	defer caught(&err)
	s := &state{limits: limits, filters: filterFuncs, scope: &scope{vars: map[string]Value{}}}
	for k, v := range functions {
		s.scope.vars[k] = v
	}
	maps.Copy(s.scope.vars, vars)
	s.scope = &scope{vars: map[string]Value{}, outer: s.scope}
	t.body.run(s)
	return s.out.String(), nil
}
