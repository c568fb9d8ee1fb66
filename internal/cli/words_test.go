package cli_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"atoll/api"
	"atoll/internal/cli"
	"atoll/internal/core"
)

// What the hub says of routes and headers is said here in verbs and flags,
// whatever it may say: its hints are read from its source.
func TestHintsSpeakInVerbs(t *testing.T) {
	t.Parallel()
	ofHTTP := regexp.MustCompile(`(GET|POST|PUT|DELETE) /|\?\w+=|Bearer|Retry-After|Idempotency-Key`)
	seen := 0
	for _, dir := range []string{"../../api", "../auth", "../control", "../httpapi/atoll", "../fetch"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, hint := range hintsOf(t, path) {
				if ofHTTP.MatchString(hint) {
					seen++
				}
				if said := cli.InVerbs(hint); ofHTTP.MatchString(said) {
					t.Errorf("%s: at the command line the hint reads %q", path, said)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 8 {
		t.Errorf("only %d hints of the hub speak of HTTP: is the test looking in the right place?", seen)
	}
}

// hintsOf returns what a file gives to WithHint, with a name for each operand that
// is no literal.
func hintsOf(t *testing.T, path string) (hints []string) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if fn, ok := call.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "WithHint" {
			hints = append(hints, words(call.Args[0]))
		}
		return true
	})
	return hints
}

func words(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return words(e.X) + words(e.Y)
	}
	return "name"
}

func TestInFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&api.Problem{Field: "budget.max_cost", Detail: "too little", Hint: "ask the operator for credit, or lower max_cost"}, "--max-cost: too little (ask the operator for credit, or lower --max-cost)"},
		{&api.Problem{Field: "input[0].uri", Detail: "no"}, "--input: no"},
		{&api.Problem{Field: "modelling", Detail: "no"}, "modelling: no"},
		{core.Errorf(core.Invalid, "no").At("verification.method"), "--verify: no"},
		{errors.New("no"), "no"},
	} {
		if got := cli.InFlags(tc.err).Error(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
