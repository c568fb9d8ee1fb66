package app

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The arrows of ARCHITECTURE.md. A package may import what is listed and
// nothing else of Atoll.
var pure = map[string][]string{
	"internal/core":            {},
	"internal/lifecycle":       {"internal/core"},
	"internal/draw":            {"internal/core"},
	"internal/fed/robust":      {"internal/core", "internal/repro"},
	"internal/learn":           {"internal/repro"},
	"internal/learn/merge":     {"internal/repro"},
	"internal/learn/model":     {"internal/core", "internal/learn", "internal/learn/text", "internal/repro"},
	"internal/ledger":          {"internal/core"},
	"internal/policy":          {"internal/core"},
	"internal/verify":          {"internal/core", "internal/lifecycle", "internal/planted"},
	"internal/verify/logprobs": {},
	"internal/market":          {"internal/core", "internal/planted", "internal/policy"},
	"internal/repro":           {"internal/core"},
	"internal/shard/plan":      {"internal/core"},
	"internal/planted":         {},
	"internal/table":           {"internal/core", "internal/learn", "internal/learn/text", "internal/repro"},
	"internal/keystream":       {},
	"internal/codec":           {"internal/core", "internal/keystream", "internal/planted", "internal/repro"},
	"internal/privacy":         {"internal/core", "internal/keystream", "internal/planted"},
	"internal/rescore":         {"internal/core", "internal/engine", "internal/engine/completion", "internal/verify/logprobs"},
}

// What a pure package must not reach for. time is allowed for its types and
// formats, but not its clock; that is looked for in the source.
var impure = []string{"net", "net/http", "os", "os/exec", "io/fs", "database/sql", "syscall", "math/rand", "crypto/rand"}

func TestImportDirections(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "testdata" || n == "conformance" && filepath.Dir(p) == root || strings.HasPrefix(n, ".") && p != root && n != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		rel, _ := filepath.Rel(root, p)
		checkFile(t, filepath.ToSlash(rel), p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, rel, file string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	pkg := path.Dir(rel)
	allowed, isPure := pure[pkg]
	if isPure && pkg != "internal/core" { // core makes IDs, from a clock that can be given
		src, err := os.ReadFile(file)
		if err != nil || bytes.Contains(src, []byte("time.Now")) {
			t.Errorf("%s reads the clock (%v): %s is pure", rel, err, pkg)
		}
	}
	for _, spec := range f.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value)
		own, ours := strings.CutPrefix(imp, "atoll/")
		switch {
		case ours && own == "internal/app" && pkg != "cmd/atoll":
			t.Errorf("%s imports internal/app: only main may", rel)
		case ours && isPure && !slices.Contains(allowed, own):
			t.Errorf("%s imports %s: %s is pure and may import only %v", rel, imp, pkg, allowed)
		case !ours && isPure && pkg != "internal/core" && slices.Contains(impure, imp):
			t.Errorf("%s imports %s: %s is pure", rel, imp, pkg)
		case ours && strings.HasPrefix(pkg, "client") && own != "api" && own != "internal/core":
			t.Errorf("%s imports %s: the public client knows only api and core", rel, imp)
		case ours && strings.HasPrefix(pkg, "internal/node") && strings.HasPrefix(own, "internal/control"):
			t.Errorf("%s imports %s: a node knows nothing of the hub's inside", rel, imp)
		case ours && strings.HasPrefix(pkg, "internal/engine") && strings.HasPrefix(own, "internal/control"):
			t.Errorf("%s imports %s", rel, imp)
		}
	}
}
