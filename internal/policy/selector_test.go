package policy

import (
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"atoll/internal/core"
)

func TestSelector(t *testing.T) {
	t.Parallel()
	node := map[string]string{"tier": "gold", "zone": "eu", "gpu": "", "cores": "16", "example.com/rack": "r1"}
	for text, want := range map[string]bool{
		"": true, "  ": true,
		"tier in (gold,silver)": true, "tier in ( silver )": false, "tier notin (silver)": true, "rack notin (a)": true,
		"zone=eu": true, "zone==us": false, "zone != us": true, "zone!=eu": false, "rack!=a": true, "rack=a": false,
		"gpu": true, "!gpu": false, "! spot": true, "spot": false, "gpu=": true, "gpu!=": false, "gpu=,tier=gold": true,
		"cores>8": true, "cores > 16": false, "cores<17": true, "zone>1": false, "rack>1": false, "rack<1": false,
		"example.com/rack=r1": true, "tier in (gold),zone=us": false, "tier=gold,zone=eu,!spot,gpu": true, "in in (in)": false,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := s.Matches(node); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if (Selector{}).Matches(nil) != true || (Selector{}).String() != "" {
		t.Error("the zero selector must match everything")
	}
}

func TestSelectorRefuses(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		",": "label key", "a,": "found the end", "a b": `found "b" at byte 2`, "a in": "want (", "a in ()": "label value", "a in (b": "found the end",
		"a in (b,)": "label value", "a in (b c)": "want , or )", "a=b=c": "want ,", "a=!": "label value", "!": "label key", "!a=b": "want ,", "!!a": "label key",
		"a>": "whole number", "a>-1": "whole number", "a>1.5": "whole number", "a>99999999999999999999": "whole number", "a(b)": "want one of", "(": "label key",
		"-a": "label key", "a/b/c": "label key", "/a": "label key", "a/": "label key", "Ä=1": "label key", "UPPER.com/a": "label key",
		strings.Repeat("a", 64): "label key", "a=" + strings.Repeat("b", 64): "label value", "a\x00": "label key", "a===b": "label value",
	} {
		if _, err := ParseSelector(text); core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want %q", text, err, says)
		}
	}
	if _, err := ParseSelector(strings.Repeat("a,", maxSelector)); core.KindOf(err) != core.TooLarge {
		t.Errorf("long selector: %v", err)
	}
}

// emptyInList is what Kubernetes accepts and ParseSelector does not.
var emptyInList = regexp.MustCompile(`[(,]\s*[,)]`)

// FuzzParseSelector holds the parser against the one of Kubernetes: they accept
// the same texts and match the same labels.
func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{
		"", "tier in (gold,silver)", "a notin (b),c", "zone=eu,!spot", "gpu", "a==b", "a!=b", "a=", "a!=,b", "cores>8", "cores<08", "example.com/x=1",
		"a in (in,notin)", "in", "a in (,)", "a>b", "a==,b", "a = = b", "a\tin\n(b)", "a_b.c-d=1", "x.y-z/a", "a>007",
	} {
		f.Add(s, "tier", "gold")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		ours, err := ParseSelector(text)
		theirs, theirErr := labels.Parse(text)
		switch {
		case err == nil && theirErr != nil:
			t.Fatalf("%q accepted, but not by Kubernetes: %v", text, theirErr)
		case err != nil && theirErr == nil && !emptyInList.MatchString(text) && !strings.Contains(text, "\x00") && len(text) <= maxSelector:
			t.Fatalf("%q: %v, but Kubernetes accepts it as %s", text, err, theirs)
		}
		if err != nil {
			return
		}
		again, err := ParseSelector(ours.String())
		if err != nil || again.String() != ours.String() {
			t.Fatalf("%q -> %q -> %q: %v", text, ours, again, err)
		}
		for _, set := range []map[string]string{nil, {key: value}, {"tier": "gold", "a": "b", "cores": "9"}} {
			if ours.Matches(set) != theirs.Matches(labels.Set(set)) || again.Matches(set) != ours.Matches(set) {
				t.Fatalf("%q on %v: %v", text, set, ours.Matches(set))
			}
		}
		if reqs, _ := theirs.Requirements(); len(reqs) > 0 {
			k := reqs[0].Key()
			for v := range reqs[0].Values() {
				for _, set := range []map[string]string{{k: v}, {k: v + "0"}, {k: "0"}} {
					if ours.Matches(set) != theirs.Matches(labels.Set(set)) {
						t.Fatalf("%q on %v: %v", text, set, ours.Matches(set))
					}
				}
			}
		}
	})
}
