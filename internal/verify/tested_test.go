package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/verify"
)

// What becomes of results that a reference tests. Work is W, a check C; each with a
// state, and work with whether it is drawn (d) and its test (+, −).
func TestTested(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, leases string
		last         bool
		want         string
	}{
		{"nothing yet", "", false, "need=1"},
		{"work is out", "W:running", false, "wait"},
		{"not drawn", "W:reported", false, "agreed W+paid"},
		{"drawn, and nobody has tested it", "Wd:reported", false, "need=1"},
		{"its test is out", "Wd:reported C:running", false, "wait"},
		{"passed", "Wd+:reported C:reported", false, "agreed W+paid C+paid"},
		{"failed: another is to try, the reference is paid", "Wd-:reported C:reported", false, "need=1 W- C+paid"},
		{"failed at once, as what cannot be tested", "Wd-:reported", false, "need=1 W-"},
		{"failed, and nobody is left to try", "Wd-:reported C:reported", true, "failed W- C+paid"},
		{"the second passes", "Wd-:rejected C:passed Wd+:reported C:reported", false, "agreed W+paid C+paid"},
		{"the reference fails: another is asked", "Wd:reported C:failed", false, "need=1 C-"},
		{"no reference can be had: it stands, and says so", "Wd:reported", true, "agreed! W+paid"},
		{"no second reference can be had", "Wd:reported C:failed", true, "agreed! C- W+paid"},
		{"work fails: another is to try", "W:failed", false, "need=1 W-"},
		{"work fails, and nobody is left", "W:failed", true, "failed W-"},
		{"nobody could be had", "", true, "failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			terms := &lifecycle.Terms{Method: lifecycle.Logprobs, Replicas: 1, Agree: 1, MaxAttempts: 3}
			p := &lifecycle.Part{}
			for i, text := range strings.Fields(tt.leases) {
				what, state, _ := strings.Cut(text, ":")
				l := lifecycle.Lease{ID: core.LeaseID(i + 1), Node: core.NodeID(fmt.Sprint("n", i)), Price: 5, State: lifecycle.LeaseState(state), Result: core.DigestOf([]byte(text))}
				if state == "failed" {
					l.State, l.Failure = lifecycle.Reported, "it failed"
				}
				if what == "C" {
					l.Checks = core.LeaseID(i)
				}
				l.Drawn = strings.Contains(what, "d")
				if strings.ContainsAny(what, "+-") {
					l.Test = &lifecycle.Test{Pass: strings.Contains(what, "+"), Reason: "margin 1"}
				}
				p.Leases = append(p.Leases, l)
			}
			j := verify.Judge(terms, p, tt.last)
			got := shortly(j.Outcome)
			for _, v := range j.Verdicts {
				l := p.Lease(v.Lease)
				got += " W"
				if l.Checks != 0 {
					got = got[:len(got)-1] + "C"
				}
				got += map[bool]string{true: "+", false: "-"}[v.Pass]
				if v.Pay > 0 {
					got += "paid"
				}
				if v.Wrong {
					t.Errorf("%s is blamed: a test is no proof", v.Lease)
				}
				if v.Reason == "" {
					t.Errorf("no reason for %s", v.Lease)
				}
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// What becomes of what a line has computed, of which a stage is audited. A is an audit;
// + or − is what it came to, in the second case of the stage on node s.
func TestAuditorsMustAgree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, leases string
		last         bool
		want         string
	}{
		{"not drawn", "W:reported", false, "agreed W+"},
		{"drawn", "Wd:reported", false, "need=1"},
		{"the audit is out", "Wd:reported A:running", false, "wait"},
		{"it passes", "Wd:reported A+:reported", false, "agreed W+ A+"},
		{"one accuses: another is asked", "Wd:reported A-:reported", false, "need=1"},
		{"the other is out", "Wd:reported A-:reported A:running", false, "wait"},
		{"two accuse", "Wd:reported A-:reported A-:reported", false, "need=1 W-blame=s A+ A+"},
		{"one is contradicted: it was wrong", "Wd:reported A-:reported A+:reported", false, "agreed W+ A-wrong A+"},
		{"one accuses, and nobody else can be asked: nobody is blamed", "Wd:reported A-:reported", true, "failed W- A+"},
		{"the second fails to audit: a third is asked", "Wd:reported A-:reported A:failed", false, "need=1"},
		{"after a wrong answer the next passes", "Wd:rejected A-:passed A-:passed Wd:reported A+:reported", false, "agreed W+ A+"},
		{"no auditor can be had: it stands, and says so", "Wd:reported", true, "agreed! W+"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			terms := &lifecycle.Terms{Method: lifecycle.Reexecute, Staged: true, Replicas: 1, Agree: 1, MaxAttempts: 3}
			p := &lifecycle.Part{}
			work := core.LeaseID(0)
			for i, text := range strings.Fields(tt.leases) {
				what, state, _ := strings.Cut(text, ":")
				l := lifecycle.Lease{ID: core.LeaseID(i + 1), Node: core.NodeID(fmt.Sprint("n", i)), Price: 5, State: lifecycle.LeaseState(state), Result: core.DigestOf([]byte(text))}
				if state == "failed" {
					l.State, l.Failure = lifecycle.Reported, "it failed"
				}
				if l.Drawn = strings.Contains(what, "d"); what[0] == 'W' {
					work, l.Line = l.ID, "line"
				} else {
					l.Checks, l.Audit = work, true
				}
				if strings.ContainsAny(what, "+-") {
					l.Test = &lifecycle.Test{Pass: strings.Contains(what, "+"), Reason: "audited"}
					if !l.Test.Pass {
						l.Test.Blame = "s"
					}
				}
				p.Leases = append(p.Leases, l)
			}
			j := verify.Judge(terms, p, tt.last)
			var got strings.Builder
			got.WriteString(shortly(j.Outcome))
			for _, v := range j.Verdicts {
				if l := p.Lease(v.Lease); l.Failure != "" {
					continue // a lone failure
				} else if l.Checks != 0 {
					got.WriteString(" A")
				} else {
					got.WriteString(" W")
				}
				got.WriteString(map[bool]string{true: "+", false: "-"}[v.Pass])
				if v.Wrong {
					got.WriteString("wrong")
				}
				if v.Blame != "" {
					got.WriteString("blame=" + string(v.Blame))
				}
			}
			if got.String() != tt.want {
				t.Errorf("%s, want %s", got.String(), tt.want)
			}
		})
	}
}

// shortly is an outcome in a word; one with a note is called out.
func shortly(o verify.Outcome) string {
	switch o := o.(type) {
	case verify.Lacking:
		return fmt.Sprintf("need=%d", o.Leases)
	case verify.Waiting:
		return "wait"
	case verify.Failed:
		return "failed"
	case verify.Agreed:
		if o.Note != "" {
			return "agreed!"
		}
		return "agreed"
	}
	return ""
}
