// Package dataset is what an owner's node knows of the tables that federations may learn
// from: where the rows are, what they mean, on what terms they may be used, and what was
// told of them so far. The rows stay where they are; nothing here copies them.
//
// A node keeps its datasets in a directory:
//
//	NAME.json         the Dataset, as its owner has added it
//	NAME.budget.json  what federations have spent of its privacy, with each charge
//
// Each file is replaced as a whole and is durable before anybody is told so.
package dataset

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/fed"
	"atoll/internal/policy"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
	"atoll/internal/table"
)

// Dataset is a table that an owner lets federations learn from.
type Dataset struct {
	Name     string          `json:"name"`
	Path     string          `json:"path"` // absolute: .csv, .csv.gz or .parquet
	Resource json.RawMessage `json:"resource"`
	Schema   core.Digest     `json:"schema_digest"`
	Rows     int64           `json:"rows"` // when it was added
	AddedAt  time.Time       `json:"added_at"`
	Policy   Policy          `json:"policy"`
}

// Policy is on what terms. Its zero value allows any purpose, under masks, without a bound
// on what is told, and with nobody: members are to be named.
type Policy struct {
	Purposes []string `json:"purposes,omitempty"` // none: any
	// Sites is the fewest whose sum may be seen; under MinSites: MinSites.
	Sites int `json:"sites,omitempty"`
	// Limit is what may be told of a unit of the data, ever, over all federations. nil: no
	// federation has to bound it.
	Limit *privacy.Limit `json:"limit,omitempty"`
	// Unmasked lets the hub see this site's updates.
	Unmasked bool `json:"unmasked,omitempty"`
	// Members are whom its rows may be learnt from together with. A hub that chose them
	// could surround a site with its own, and take these out of the sum: AnyMember trusts
	// the hub not to.
	Members   []Member `json:"members,omitempty"`
	AnyMember bool     `json:"any_member,omitempty"`
	// Residency is where the node may be: countries, or groups of them; none: anywhere.
	Residency []string `json:"residency,omitempty"`
}

// Member is another owner's node, as that owner has told.
type Member struct {
	Name string      `json:"name"`
	Key  core.Digest `json:"key_digest"` // of its public key
}

// MinSites is the fewest whose sum anybody may see.
const MinSites = 3

// Check refuses terms that cannot be kept.
func (p *Policy) Check() error {
	if p.Sites < 0 {
		return core.Errorf(core.Invalid, "at least %d sites", p.Sites).At("policy.sites")
	}
	if _, err := policy.Parse(p.Residency); err != nil {
		return core.Errorf(core.Invalid, "%w", err).At("policy.residency")
	}
	for i := range p.Members {
		if p.Members[i].Key.IsZero() {
			return core.Errorf(core.Invalid, "member %q has no key", p.Members[i].Name).At("policy.members")
		}
	}
	if p.Limit == nil {
		return nil
	}
	_, err := privacy.NewBudget("check", *p.Limit)
	return err
}

// MayStay refuses, with core.Forbidden, a country that the rows must not be in.
func (p *Policy) MayStay(country string) error {
	r, err := policy.Parse(p.Residency)
	if err == nil && !r.Allows(country) {
		err = core.Errorf(core.Forbidden, "its owner lets it be used in %s alone, and this node is in %s", r, country)
	}
	return err
}

// Admits refuses, with core.Forbidden, members that the owner has not named. self is the
// owner's own node.
func (p *Policy) Admits(members []secagg.Member, self string) error {
	if p.AnyMember {
		return nil
	}
	var unknown []string
	for _, m := range members {
		key := m.Key.Digest()
		if m.Name != self && !slices.ContainsFunc(p.Members, func(x Member) bool { return x.Key == key }) {
			unknown = append(unknown, m.Name+"="+key.String())
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return core.Errorf(core.Forbidden, "the dataset's owner has not named %s as members", strings.Join(unknown, ", ")).
		WithHint("once the owners have told one another their keys: atoll dataset admit")
}

// protects ranks units: each protects those before it, too.
var protects = []privacy.Unit{privacy.Record, privacy.Customer, privacy.Site}

// Allows refuses, with core.Forbidden and the reason, a federation that the terms do not
// allow. What it costs is for the Ledger.
func (p *Policy) Allows(plan *fed.Plan) error {
	s := plan.Spec
	no := func(format string, args ...any) error {
		return core.Errorf(core.Forbidden, "the owner of dataset %s does not allow it: %s", s.Dataset, fmt.Sprintf(format, args...))
	}
	switch {
	case len(p.Purposes) > 0 && !slices.Contains(p.Purposes, s.Purpose):
		return no("the purpose is %q, and may be %s", s.Purpose, strings.Join(p.Purposes, ", "))
	case s.Secure.Off && !p.Unmasked:
		return no("updates are to be masked")
	case plan.Threshold < max(p.Sites, MinSites):
		return no("a sum may be of %d sites, and must be of %d", plan.Threshold, max(p.Sites, MinSites))
	case p.Limit == nil:
		return nil
	case s.Privacy == nil:
		return no("it bounds what is told of a %s, and the federation does not", p.Limit.Unit)
	case slices.Index(protects, s.Privacy.Unit) < slices.Index(protects, p.Limit.Unit):
		return no("it bounds what is told of a %s, and the federation of a %s", p.Limit.Unit, s.Privacy.Unit)
	}
	return nil
}

// Load reads the rows for a federation, those to train on and those held out. A table that
// means something else than the federation says is refused, with what differs.
func (d *Dataset) Load(plan *fed.Plan) (*fed.Rows, error) {
	res, err := table.ParseResource(d.Resource)
	if err != nil {
		return nil, err
	}
	if diff := res.Schema.Differences(plan.Resource.Schema); len(diff) > 0 {
		return nil, core.Errorf(core.Mismatch, "dataset %s means something else than the federation says: %s", d.Name, strings.Join(diff, "; "))
	}
	held, err := plan.Spec.Holdout.Rule(res.Schema)
	if err != nil {
		return nil, err
	}
	parts, err := plan.Spec.Features.Divide(res.Schema, Open(d.Path, res), 2, func(r table.Row) int {
		if held(r) {
			return 1
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	return &fed.Rows{Train: parts[0], Held: parts[1]}, nil
}

// Open reads a file of rows, by its name as Parquet or as CSV, which may be compressed.
func Open(path string, res *table.Resource) iter.Seq2[table.Row, error] {
	return func(yield func(table.Row, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(table.Row{}, err)
			return
		}
		defer f.Close()
		rows, err := rowsOf(f, res)
		if err != nil {
			yield(table.Row{}, fmt.Errorf("%s: %w", path, err))
			return
		}
		rows(yield)
	}
}

func rowsOf(f *os.File, res *table.Resource) (iter.Seq2[table.Row, error], error) {
	switch name := filepath.Base(f.Name()); {
	case strings.HasSuffix(name, ".parquet"):
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return res.ReadParquet(name, f, info.Size()), nil
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		return res.ReadCSV(name, z), nil
	default:
		return res.ReadCSV(name, f), nil
	}
}

// Store is a node's directory of datasets.
type Store string

func (s Store) file(name, what string) string { return filepath.Join(string(s), name+what) }

// Add takes a dataset, after all of its rows have been read, and returns it as it is kept.
// An owner who adds one of the same name again changes its terms; what was spent stays
// spent.
func (s Store) Add(name, path string, resource []byte, p Policy, now time.Time) (*Dataset, error) {
	if err := core.CheckName("dataset", name); err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err).At("name")
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	res, err := table.ParseResource(resource)
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err).At("schema")
	}
	d := &Dataset{Name: name, Resource: resource, Schema: res.Schema.Digest(), AddedAt: now, Policy: p}
	if d.Path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	for _, err := range Open(d.Path, res) {
		if err != nil {
			return nil, err
		}
		d.Rows++
	}
	if d.Rows == 0 {
		return nil, core.Errorf(core.Invalid, "%s has no rows", path)
	}
	if err := s.checkLimit(name, p.Limit); err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(s), 0o700); err != nil {
		return nil, err
	}
	return d, durable.WriteFile(s.file(name, ".json"), append(body, '\n'), durable.Private)
}

// checkLimit refuses to change a limit of which something was spent: the new one would not
// count that.
func (s Store) checkLimit(name string, l *privacy.Limit) error {
	b, err := s.read(name)
	if err != nil || b == nil {
		return err
	}
	if l == nil || *l != b.Budget.Limit {
		return core.Errorf(core.Conflict, "dataset %s has spent ε = %.3g of a limit of %.3g, which stays as it is", name, b.Budget.Epsilon(), b.Budget.Limit.Epsilon).
			WithHint("add it with that limit, or under another name if its rows are other people's")
	}
	return nil
}

// Get returns a dataset; a core.NotFound if there is none.
func (s Store) Get(name string) (*Dataset, error) {
	if err := core.CheckName("dataset", name); err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err)
	}
	body, err := os.ReadFile(s.file(name, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, core.Errorf(core.NotFound, "no dataset %s here", name)
	}
	if err != nil {
		return nil, err
	}
	d := new(Dataset)
	if err := json.Unmarshal(body, d); err != nil {
		return nil, fmt.Errorf("%s: %w", s.file(name, ".json"), err)
	}
	return d, nil
}

// List returns all datasets, by name.
func (s Store) List() (out []*Dataset, err error) {
	entries, err := os.ReadDir(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasSuffix(name, ".budget") {
			continue
		}
		d, err := s.Get(name)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, err
}

// Remove forgets a dataset. What was spent of it is kept, should it be added again.
func (s Store) Remove(name string) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	return os.Remove(s.file(name, ".json"))
}
