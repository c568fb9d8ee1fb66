package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	iso "github.com/biter777/countries"
	"golang.org/x/text/language"
	"pgregory.net/rapid"

	"atoll/internal/core"
)

func TestCountriesAgreeWithOthers(t *testing.T) {
	t.Parallel()
	ours := countries.list()
	if len(ours) != 249 || strings.Join(ours, " ") != alpha2 {
		t.Fatalf("%d codes, or out of order", len(ours))
	}
	for _, c := range ours {
		if r, err := language.ParseRegion(c); err != nil || !r.IsCountry() || r.String() != c {
			t.Errorf("%s is no country to x/text: %v", c, err)
		}
	}
	theirs := map[string]bool{}
	for _, c := range iso.All() {
		theirs[c.Alpha2()] = true
	}
	for _, gone := range []string{"AN", "YU", "XK"} { // withdrawn, withdrawn, user-assigned
		delete(theirs, gone)
	}
	if got := slices.Sorted(maps.Keys(theirs)); !slices.Equal(got, ours) {
		t.Errorf("other list: %v", got)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{
		"EU@2013-07": 28, "EU@2020-02": 27, "EEA@2014-04": 31, "EEA@2020-02": 30, "EFTA@1995-01": 4,
		"SCHENGEN@2011-12": 26, "SCHENGEN@2023-01": 27, "SCHENGEN@2025-01": 29,
		"G7@2014-03": 7, "USMCA@2020-07": 3, "ASEAN@1999-04": 10, "ASEAN@2025-10": 11,
	}
	for g, versions := range groups {
		for i, v := range versions {
			if i > 0 && versions[i-1].since >= v.since {
				t.Errorf("%s: versions out of order", g)
			}
			name := g + "@" + v.since
			if n := len(v.members.list()); n != sizes[name] {
				t.Errorf("%s has %d members, want %d", name, n, sizes[name])
			}
			for _, c := range v.members.list() {
				if !IsCountry(c) {
					t.Errorf("%s: %s is no country", name, c)
				}
			}
			delete(sizes, name)
		}
	}
	if len(sizes) > 0 {
		t.Errorf("published versions are gone: %v", sizes)
	}
}

func TestParseResidency(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in             []string
		resolved       string
		allows, forbid string
	}{
		{nil, "", "US FR ZZ", ""},
		{[]string{"EU"}, "EU@2020-02", "FR DE", "GB US CH RE ZZ fr"},
		{[]string{"EU@2020"}, "EU@2020-02", "FR", "GB"},
		{[]string{"EU@2013"}, "EU@2013-07", "GB", "CH"},
		{[]string{"US", "EU", "EU@2020-02", "US"}, "EU@2020-02 US", "US FR", "CA"},
		{[]string{"EEA", "CH"}, "CH EEA@2020-02", "NO CH LI", "GB"},
	} {
		r, err := Parse(tc.in)
		if err != nil {
			t.Fatalf("%v: %v", tc.in, err)
		}
		if got := strings.Join(r.Resolved(), " "); got != tc.resolved {
			t.Errorf("%v resolved to %q, want %q", tc.in, got, tc.resolved)
		}
		for c := range strings.FieldsSeq(tc.allows) {
			if !r.Allows(c) {
				t.Errorf("%v does not allow %s", tc.in, c)
			}
		}
		for _, c := range append(strings.Fields(tc.forbid), "", "E", "\x00\x00", "ÄÖ") {
			if r.Restricted() && r.Allows(c) {
				t.Errorf("%v allows %q", tc.in, c)
			}
		}
	}
}

func TestParseResidencyRefuses(t *testing.T) {
	t.Parallel()
	for in, hint := range map[string]string{
		"UK": "did you mean GB?", "EL": "did you mean GR?", "eu": "did you mean EU?", "de": "did you mean DE?", " FR": "did you mean FR?", "eu@2020-02": "did you mean EU@2020-02?",
		"EU@2019": "EU@2013-07, EU@2020-02", "EU@": "EU@2013-07", "EU@2020-02@": "EU@2013-07", "SCHENGEN@20": "SCHENGEN@2011-12",
		"XK": "two capital letters", "ZZ": "two capital letters", "": "two capital letters", "DE@2020": "two capital letters", "Germany": "two capital letters",
	} {
		_, err := Parse([]string{"FR", in})
		e, ok := errors.AsType[*core.Error](err)
		if !ok || e.Kind != core.Invalid || !strings.Contains(e.Hint, hint) || !strings.Contains(e.Message, fmt.Sprintf("%q", in)) {
			t.Errorf("%q: %v, hint %q; want %q", in, err, e.Hint, hint)
		}
	}
	if _, err := Parse(make([]string, maxResidency+1)); core.KindOf(err) != core.TooLarge {
		t.Errorf("too many names: %v", err)
	}
	if _, err := Parse([]string{strings.Repeat("x", 1<<20)}); err == nil || len(err.Error()) > 300 {
		t.Error("a long name is repeated in full")
	}
}

// known draws names that Parse accepts.
func known() *rapid.Generator[string] {
	names := countries.list()
	for g := range groups {
		names = append(append(names, g), versionNames(g)...)
	}
	slices.Sort(names)
	return rapid.SampledFrom(names)
}

func TestResidencyIsTheUnion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(known(), 1, 8).Draw(t, "names")
		all, err := Parse(names)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range countries.list() {
			want := false
			for _, n := range names {
				one, _ := Parse([]string{n})
				want = want || one.Allows(c)
			}
			if all.Allows(c) != want || slices.Contains(all.Countries(), c) != want {
				t.Fatalf("%v: %s: %v, want %v", names, c, all.Allows(c), want)
			}
		}
	})
}

func TestResolvedIsAFixedPoint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(known()).Draw(t, "names")
		r, err := Parse(names)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(r.Resolved())
		if err != nil || !slices.Equal(again.Resolved(), r.Resolved()) || again.set != r.set || again.restricted != r.restricted {
			t.Fatalf("%v -> %v -> %v (%v)", names, r, again, err)
		}
		slices.Reverse(names)
		if back, _ := Parse(names); back.String() != r.String() {
			t.Fatalf("order matters: %v, %v", r, back)
		}
	})
}

func FuzzParseResidency(f *testing.F) {
	for _, s := range []string{"EU", "EU@2020", "EU@2020-02", "DE,US", "eu", "UK", "@", "EU@", "ZZ", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(strings.Split(text, ","))
		if err != nil {
			if k := core.KindOf(err); k != core.Invalid && k != core.TooLarge {
				t.Fatal(err)
			}
			return
		}
		if len(r.Countries()) == 0 || !slices.IsSorted(r.Resolved()) {
			t.Fatalf("%q gives %v", text, r)
		}
	})
}

func TestAllowsDoesNotAllocate(t *testing.T) {
	r, _ := Parse([]string{"EU"})
	s, err := ParseSelector("tier in (gold,silver),zone=eu,!spot,cores>8")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"tier": "gold", "zone": "eu", "cores": "16"}
	if n := testing.AllocsPerRun(100, func() {
		if !r.Allows("FR") || r.Allows("US") || !s.Matches(labels) {
			t.Fatal("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAllows(b *testing.B) {
	r, _ := Parse([]string{"EU"})
	for b.Loop() {
		r.Allows("FR")
	}
}
