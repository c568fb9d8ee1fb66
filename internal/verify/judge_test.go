package verify

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
	"atoll/internal/lifecycle"
)

// part builds a part from a line such as "a:r=x b:r=x c:live d:lost e:f=boom":
// one lease each, owned by the letter before the colon; r= is a reported
// result, drawn= one that is to be run again, piece= that of a check which ran but a piece
// of it, f= a reported failure.
func part(t *testing.T, line string) *lifecycle.Part {
	t.Helper()
	p := &lifecycle.Part{State: lifecycle.PartRunning}
	for i, w := range strings.Fields(line) {
		owner, what, _ := strings.Cut(w, ":")
		l := lifecycle.Lease{ID: core.LeaseID(i + 1), Node: core.NodeID(owner), Owner: core.AccountID(owner), Price: 100, OfferedMs: 1000}
		kind, value, _ := strings.Cut(what, "=")
		if kind == "drawn" {
			kind, l.Drawn = "r", true
		} else if tried := p.Drawn(); tried != nil {
			l.Checks = tried.ID
		}
		if kind == "piece" {
			kind, l.Partial = "r", true
		}
		switch kind {
		case "live":
			l.State = lifecycle.Offered
		case "r":
			l.State, l.Result, l.ReportedMs = lifecycle.Reported, core.DigestOf([]byte(value)), 1500
		case "f":
			l.State, l.Result, l.Failure, l.ReportedMs = lifecycle.Reported, core.DigestOf([]byte(value)), value, 1500
		default:
			l.State = lifecycle.LeaseState(kind)
		}
		p.Leases = append(p.Leases, l)
	}
	return p
}

func TestJudge(t *testing.T) {
	t.Parallel()
	none := lifecycle.Terms{Method: "none", Replicas: 1, Agree: 1, MaxAttempts: 3}
	quorum := lifecycle.Terms{Method: "quorum", Replicas: 3, Agree: 2, MaxAttempts: 2}
	again := lifecycle.Terms{Method: lifecycle.Reexecute, Replicas: 1, Agree: 1, MaxAttempts: 1, Rate: 100_000}
	twice := again
	twice.MaxAttempts = 2
	for _, c := range []struct {
		name, leases string
		terms        lifecycle.Terms
		last         bool
		want         string // need=N | wait | ok RESULT pass=… | fail TEXT
	}{
		{"nothing yet", "", none, false, "need=1"},
		{"one out", "a:live", none, false, "wait"},
		{"one done", "a:r=x", none, false, "ok x pass=1 reject="},
		{"lone failure is retried", "a:f=boom", none, false, "need=1 pass= reject=1"},
		{"lone failures run out", "a:rejected a:rejected a:f=boom", none, false, "fail 3 attempts used up: boom pass= reject=3"},
		{"lost is retried", "a:lost", none, false, "need=1"},
		{"declined costs no attempt", "a:refused b:refused c:refused d:refused", none, false, "need=1"},

		{"three owners needed", "", quorum, false, "need=3"},
		{"one short", "a:live b:live", quorum, false, "need=1"},
		{"agreement must wait for the last replica", "a:r=x b:r=x c:live", quorum, false, "wait"},
		{"a lost replica is replaced", "a:r=x b:r=x c:lost", quorum, false, "need=1"},
		{"all agree", "a:r=x b:r=x c:r=x", quorum, false, "ok x pass=1,2,3 reject="},
		{"one lies", "a:r=x b:r=y c:r=x", quorum, false, "ok x pass=1,3 reject=2!"},
		{"one fails", "a:r=x b:f=boom c:r=x", quorum, false, "ok x pass=1,3 reject=2!"},
		{"the input is at fault", "a:f=boom b:f=boom c:r=x", quorum, false, "fail 2 of 3 owners report: boom pass= reject=1,2,3!"},
		{"all differ", "a:r=x b:r=y c:r=z", quorum, false, "need=1"},
		{"a fourth decides", "a:r=x b:r=y c:r=z d:r=y", quorum, false, "ok y pass=2,4 reject=1!,3!"},
		{"two camps decide nothing", "a:r=x b:r=y c:r=z d:r=x e:r=y", quorum, false, "need=1"},
		{"no more owners to be had: two must do", "a:r=x b:r=x", quorum, true, "ok x pass=1,2 reject="},
		{"no more owners to be had: one is not enough", "a:r=x", quorum, true, "fail 1 attempts used up: no node could be had pass= reject=1"},
		{"nobody paid more than the replicas", "a:r=x b:r=x c:r=x d:r=x", quorum, false, "ok x pass=1,2,3 reject=4"},
		{"attempts run out", "a:lost b:lost c:lost d:lost e:lost f:lost", quorum, false, "fail 6 attempts used up: no node could be had pass= reject="},
		{"never placed is a failure, not an empty success", "", quorum, true, "fail no node could be had pass= reject="},

		{"one owner works", "", again, false, "need=1"},
		{"not drawn", "a:r=x", again, false, "ok x pass=1 reject="},
		{"drawn", "a:drawn=x", again, false, "need=1"},
		{"its check is out", "a:drawn=x b:live", again, false, "wait"},
		{"confirmed", "a:drawn=x b:r=x", again, false, "ok x pass=1,2 reject="},
		{"contradicted", "a:drawn=x b:r=y", again, false, "need=1"},
		{"contradicted by a failure", "a:drawn=x b:f=boom", again, false, "need=1"},
		{"the third is for the work", "a:drawn=x b:r=y c:r=x", again, false, "ok x pass=1,3 reject=2!"},
		{"the third is for the check", "a:drawn=x b:r=y c:r=y", again, false, "ok y pass=2,3 reject=1!"},
		{"a check that failed where two did not", "a:drawn=x b:f=boom c:r=x", again, false, "ok x pass=1,3 reject=2!"},
		{"a check that was lost", "a:drawn=x b:lost", again, false, "need=1"},
		{"checks that were lost until none are left", "a:drawn=x b:lost c:lost", again, false, "ok x pass=1 reject="},
		{"no other owner in time", "a:drawn=x", again, true, "ok x pass=1 reject="},
		{"contradicted, and no third in time", "a:drawn=x b:r=y", again, true, "fail 2 attempts used up: no 2 of 2 owners agree pass= reject=1,2"},
		{"a piece confirms", "a:drawn=x b:piece=x", again, false, "ok x pass=1,2 reject="},
		{"a piece contradicts", "a:drawn=x b:piece=?", again, false, "need=1"},
		{"a piece lied", "a:drawn=x b:piece=? c:r=x", again, false, "ok x pass=1,3 reject=2!"},
		{"a piece was right, but what is true is not known yet", "a:drawn=x b:piece=? c:r=y", twice, false, "need=1"},
		{"a piece was right, and two say what is true", "a:drawn=x b:piece=? c:r=y d:r=y", twice, false, "ok y pass=2,3,4 reject=1!"},
		{"what a piece of a lie comes to is no result", "a:drawn=x b:piece=y c:r=y d:r=x", twice, false, "ok x pass=1,4 reject=2!,3!"},
		{"three opinions", "a:drawn=x b:r=y c:r=z", again, false, "fail 3 attempts used up: no 2 of 3 owners agree pass= reject=1,2,3"},
		{"a lone failure is no more than that", "a:f=boom", again, false, "fail 1 attempts used up: boom pass= reject=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := describe(Judge(&c.terms, part(t, c.leases), c.last)); got != c.want {
				t.Errorf("%s\n got %q\nwant %q", c.leases, got, c.want)
			}
		})
	}
}

func describe(j Judgement) string {
	var pass, reject []string
	for _, v := range j.Verdicts {
		id := fmt.Sprint(int64(v.Lease))
		if v.Pass {
			pass = append(pass, id)
		} else if v.Wrong {
			reject = append(reject, id+"!")
		} else {
			reject = append(reject, id)
		}
	}
	verdicts := fmt.Sprintf(" pass=%s reject=%s", strings.Join(pass, ","), strings.Join(reject, ","))
	switch o := j.Outcome.(type) {
	case Lacking:
		if len(j.Verdicts) == 0 {
			verdicts = ""
		}
		return fmt.Sprintf("need=%d%s", o.Leases, verdicts)
	case Waiting:
		return "wait"
	case Failed:
		return "fail " + o.Why + verdicts
	case Agreed:
		for _, s := range []string{"x", "y", "z"} {
			if o.Result == core.DigestOf([]byte(s)) {
				return "ok " + s + verdicts
			}
		}
	}
	return "?" + verdicts
}

// Whatever nodes report, pay goes only to leases whose result equals the agreed
// one, to no more of them than there are replicas, and only when enough agree.
func TestPayOnlyAgreement(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		replicas := rapid.IntRange(1, 5).Draw(t, "replicas")
		terms := lifecycle.Terms{Replicas: replicas, Agree: rapid.IntRange(replicas/2+1, replicas).Draw(t, "agree"), MaxAttempts: rapid.IntRange(1, 3).Draw(t, "attempts")}
		if rapid.Bool().Draw(t, "reexecute") {
			terms.Method, terms.Replicas, terms.Agree = lifecycle.Reexecute, 1, 1
		}
		p := &lifecycle.Part{State: lifecycle.PartRunning}
		for i := range rapid.IntRange(0, 8).Draw(t, "leases") {
			l := lifecycle.Lease{ID: core.LeaseID(i + 1), Price: 10}
			l.State = rapid.SampledFrom([]lifecycle.LeaseState{lifecycle.Reported, lifecycle.Reported, lifecycle.Reported, lifecycle.Offered, lifecycle.Lost, lifecycle.Refused}).Draw(t, "state")
			if l.State == lifecycle.Reported {
				l.Result = core.DigestOf([]byte(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "result")))
				if rapid.IntRange(0, 5).Draw(t, "fails") == 0 {
					l.Failure = "boom"
				}
				if tried := p.Drawn(); tried != nil {
					l.Checks, l.Partial = tried.ID, rapid.Bool().Draw(t, "piece")
				}
				l.Drawn = terms.Method == lifecycle.Reexecute && l.Failure == "" && p.Drawn() == nil && rapid.Bool().Draw(t, "drawn")
			}
			p.Leases = append(p.Leases, l)
		}
		j := Judge(&terms, p, rapid.Bool().Draw(t, "last"))
		agreed, isAgreed := j.Outcome.(Agreed)
		lacking, isLacking := j.Outcome.(Lacking)
		_, isFailed := j.Outcome.(Failed)
		paid := 0
		for _, v := range j.Verdicts {
			l := p.Lease(v.Lease)
			if l.State != lifecycle.Reported {
				t.Fatalf("verdict on %s, which is %s", l.ID, l.State)
			}
			if !v.Pass {
				if v.Pay != 0 {
					t.Fatalf("a rejected lease is paid")
				}
				continue
			}
			paid++
			same := l.Result == agreed.Result && l.Failure == ""
			if l.Partial && !same { // then the claim that it contradicted was not agreed either
				claim := p.Lease(l.Checks)
				same = claim.Result != agreed.Result && (l.Result != claim.Result || l.Failure != "")
			}
			if !isAgreed || !same || v.Pay > l.Price {
				t.Fatalf("paid without agreement: %+v", j)
			}
		}
		if paid > terms.Payable() {
			t.Fatalf("%d paid, at most %d may be", paid, terms.Payable())
		}
		if paid > 0 && paid < terms.Agree {
			t.Fatalf("%d paid, %d must agree", paid, terms.Agree)
		}
		if (isAgreed || isFailed) && p.Live() > 0 {
			t.Fatal("decided while a replica was out")
		}
		if isLacking && (lacking.Leases < 1 || p.Attempts()+lacking.Leases > terms.Payable()*terms.MaxAttempts) {
			t.Fatalf("asks for %d more after %d attempts", lacking.Leases, p.Attempts())
		}
	})
}

func TestPenalty(t *testing.T) {
	t.Parallel()
	p := part(t, "a:r=x")
	terms := lifecycle.Terms{Replicas: 1, Agree: 1, MaxAttempts: 1, LatencyMs: 400, PenaltyPerMille: 200}
	j := Judge(&terms, p, false)
	if len(j.Verdicts) != 1 || j.Verdicts[0].Pay != 80 {
		t.Fatalf("500 ms against 400 asked for at 20 %%: got %+v, want pay 80 of 100", j.Verdicts)
	}
	terms.LatencyMs = 500
	if j := Judge(&terms, p, false); j.Verdicts[0].Pay != 100 {
		t.Fatalf("in time: got %+v, want full pay", j.Verdicts)
	}
}

// A verdict on fewer owners than were asked for says so, and only such a one.
func TestVerdictTellsOfMissingOwners(t *testing.T) {
	t.Parallel()
	terms := lifecycle.Terms{Replicas: 3, Agree: 2, MaxAttempts: 2}
	for leases, want := range map[string]string{
		"a:r=x b:r=x":             "2 of 2 owners agree; 3 were asked for, and no more could be had",
		"a:r=x b:r=x c:r=x":       "3 of 3 owners agree",
		"a:r=x b:r=x c:r=y":       "2 of 3 owners agree",
		"a:r=x b:r=x c:r=x d:r=x": "4 of 4 owners agree",
	} {
		j := Judge(&terms, part(t, leases), true)
		if len(j.Verdicts) == 0 || !j.Verdicts[0].Pass || j.Verdicts[0].Reason != want {
			t.Errorf("%s: %+v, want %q", leases, j.Verdicts, want)
		}
		if short := strings.Contains(want, "asked for"); (note(j) == want) != short || (note(j) == "") == short {
			t.Errorf("%s: note %q", leases, note(j))
		}
	}
	j := Judge(&terms, part(t, "a:f=boom b:f=boom"), true)
	if want := "2 of 2 owners report: boom; 3 were asked for, and no more could be had"; j.Outcome != (Failed{want}) {
		t.Errorf("%+v, want %q", j.Outcome, want)
	}
}

// What a result that is run again rests on is said, and what it does not rest on.
func TestVerdictTellsOfTheDraw(t *testing.T) {
	t.Parallel()
	terms := lifecycle.Terms{Method: lifecycle.Reexecute, Replicas: 1, Agree: 1, MaxAttempts: 1, Rate: 100_000}
	for leases, want := range map[string]struct {
		reason, note string
		confirmed    bool
	}{
		"a:r=x":                   {"not drawn to be run again", "", false},
		"a:drawn=x b:r=x":         {"run again: 2 of 2 owners agree", "", true},
		"a:drawn=x b:r=y c:r=x":   {"run again: 2 of 3 owners agree", "", true},
		"a:drawn=x b:lost c:lost": {"1 of 1 owners agree; it was drawn to be run again, but no other owner could be had", "1 of 1 owners agree; it was drawn to be run again, but no other owner could be had", false},
	} {
		j := Judge(&terms, part(t, leases), true)
		if v := j.Verdicts[0]; v.Reason != want.reason || v.Confirmed != want.confirmed || note(j) != want.note {
			t.Errorf("%s: %+v, note %q", leases, v, note(j))
		}
	}
}

// note is what a reader of the agreed result is told.
func note(j Judgement) string { return j.Outcome.(Agreed).Note }

func TestReputation(t *testing.T) {
	t.Parallel()
	var newcomer, good, liar Reputation
	for i := range 100 {
		good = good.Pass()
		if i%3 == 0 {
			liar = liar.Fault(1)
		} else {
			liar = liar.Pass()
		}
	}
	if newcomer.Mean() != 0.5 {
		t.Errorf("a newcomer's mean is %v, want one half", newcomer.Mean())
	}
	if p := newcomer.P5(); p < 0.049 || p > 0.051 {
		t.Errorf("a newcomer's 5th percentile is %v, want .05: Beta(1,1) is uniform", p)
	}
	if !(newcomer.P5() < liar.P5() && liar.P5() < good.P5()) {
		t.Errorf("order is newcomer %.3f, liar %.3f, good %.3f", newcomer.P5(), liar.P5(), good.P5())
	}
	if good.Mean() < 0.98 || liar.Mean() > 0.7 {
		t.Errorf("means: good %.3f, liar %.3f", good.Mean(), liar.Mean())
	}
	for range 3000 {
		liar = liar.Pass()
	}
	if liar.P5() < 0.95 {
		t.Errorf("a reformed node is forgiven in time: %.3f", liar.P5())
	}
}
