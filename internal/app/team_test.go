package app

import (
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/openaiwire"
)

// Nodes that are slow beside the ways between them are planned as a team once they have
// measured these. It gives the text that one node gives, also when a follower is lost in
// the middle of a sentence; who audits its stage finds the same by itself, and its followers
// are paid.
func TestTeam(t *testing.T) {
	t.Parallel()
	slow := func(name, owner, country string) NodeSpec {
		s := spec(name, owner, country, 30_000, "")
		s.modelRate = 1 << 20 // a fifth of a second for a layer: so it says
		return s
	}
	n, c := startTest(t, slow("paris-1", "alice", "FR"), slow("rome-1", "bob", "IT"), slow("bonn-1", "carol", "DE"), slow("oslo-1", "dave", "NO"))
	pushCoral(t, c)
	var whole openaiwire.Text
	if res, failed := post(t, n, "/v1/completions", strings.Replace(story3, "story3", "storyteller", 1)+"}", &whole); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	// A node that stands still for half a second, as on a busy machine, has its team replaced
	// by a spare: then the service is made anew.
	team := func() *api.Line {
		t.Helper()
		var put time.Time
		return lineOf(t, c, func(l *api.Line) bool {
			if l != nil && l.State == "ready" && len(l.Stages) == 2 && len(l.Stages[1].With) == 1 {
				return true
			}
			if put.IsZero() || l != nil && l.State == "ready" && time.Since(put) > time.Second {
				serveTeam(t, c, !put.IsZero())
				put = time.Now()
			}
			return false
		})
	}
	serveTeam(t, c, false)
	line := team()
	for try := 0; ; try++ { // the lot picks one of two stages
		if try == 60 {
			t.Fatal("60 answers, and no team's stage was audited")
		}
		var text openaiwire.Text
		if res, failed := post(t, n, "/v1/completions", story3+"}", &text); res.StatusCode != http.StatusOK || text.Choices[0].Text != whole.Choices[0].Text {
			t.Fatalf("%s: %+v, %+v, want %+v", res.Status, failed, text, whole)
		}
		leases, err := client.Collect(c.Leases(t.Context(), mustTask(t, text.ID)))
		if err != nil || leases[0].State != "passed" {
			t.Fatalf("%+v, %v", leases, err)
		}
		s, err := c.Service(t.Context(), "story3")
		if err != nil {
			t.Fatal(err)
		}
		if s.Line == nil || s.Line.ID != line.ID || s.Line.Replays > 0 {
			line = team()
			continue
		}
		if strings.Contains(leases[0].Reason, "of "+string(line.Stages[1].Node)+" over") {
			if !strings.Contains(leases[0].Reason, "bit for bit") {
				t.Errorf("the team's stage: %s", leases[0].Reason)
			}
			break
		}
	}
	follower := line.Stages[1].With[0]
	eventually(t, func() string {
		nodes, err := client.Collect(c.Nodes(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(slices.ContainsFunc(nodes, func(x api.Node) bool { return x.ID == follower && x.Earned > 0 }))
	}, "true")
	next, stop := iter.Pull2(stream(t, n, "/v1/completions", story3+`,"stream":true,"atoll":{"verification":{"method":"none"}}}`))
	defer stop()
	begun, _ := textOf(t, next, func(text string) bool { return len(text) > 40 })
	if err := n.Kill(follower); err != nil {
		t.Fatal(err)
	}
	rest, _ := textOf(t, next, func(string) bool { return false })
	if begun+rest != whole.Choices[0].Text {
		t.Errorf("%q and %q, want %q", begun, rest, whole.Choices[0].Text)
	}
	lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" && l.Replays > 0 && len(l.Stages[1].With) == 0 })
}

// serveTeam asks for the service, anew if there is one: it is planned by what is known now.
func serveTeam(t *testing.T, c *client.Client, anew bool) {
	t.Helper()
	if anew {
		if err := c.DeleteService(t.Context(), "story3"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PutService(t.Context(), "story3", api.ServiceSpec{Model: "storyteller", Pipeline: "2", Terms: api.Terms{
		Verification: &api.Verification{Method: "reexecute", Rate: 1},
	}}); err != nil {
		t.Fatal(err)
	}
}
