package app

import (
	"bufio"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/node"
	"atoll/internal/openaiwire"
	"atoll/internal/peer/relay"
)

// serveTogether serves our own small model by three nodes, and returns its line once
// it answers.
func serveTogether(t *testing.T, c *client.Client) *api.Line {
	t.Helper()
	if _, err := c.PutService(t.Context(), "story3", api.ServiceSpec{Model: "storyteller", Pipeline: "3"}); err != nil {
		t.Fatal(err)
	}
	return lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" })
}

// lineOf waits for a state of the line.
func lineOf(t *testing.T, c *client.Client, want func(*api.Line) bool) (l *api.Line) {
	t.Helper()
	eventually(t, func() string {
		s, err := c.Service(t.Context(), "story3")
		if err != nil {
			t.Fatal(err)
		}
		if l = s.Line; l != nil && want(l) {
			return "yes"
		}
		return ""
	}, "yes")
	return l
}

const story3 = `{"model":"story3","prompt":"Once upon a time","max_tokens":200,"temperature":1,"seed":11`

// One model on three nodes gives the text that it gives on one, also when a node is
// lost in the middle of a sentence, and when that node is the head.
func TestPipeline(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 30_000, ""), spec("bonn-1", "carol", "DE", 30_000, ""), spec("oslo-1", "dave", "NO", 30_000, ""), spec("wien-1", "erin", "AT", 30_000, ""))
	pushCoral(t, c)
	var whole openaiwire.Text
	if res, failed := post(t, n, "/v1/completions", strings.Replace(story3, "story3", "storyteller", 1)+"}", &whole); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	line := serveTogether(t, c)
	if len(line.Stages) != 3 || len(line.Spares) != 2 || line.Price < 30_000 {
		t.Fatalf("%+v", line)
	}
	t.Logf("%+v", line)
	ask := func(lose core.NodeID) {
		t.Helper()
		next, stop := iter.Pull2(stream(t, n, "/v1/completions", story3+`,"stream":true,"atoll":{"disconnect":{"lost_after":"1s"}}}`))
		defer stop()
		begun, _ := textOf(t, next, func(text string) bool { return len(text) > 40 })
		if lose != "" {
			if err := n.Kill(lose); err != nil {
				t.Fatal(err)
			}
		}
		rest, _ := textOf(t, next, func(string) bool { return false })
		if begun+rest != whole.Choices[0].Text {
			t.Errorf("without %q: %q and %q, want %q", lose, begun, rest, whole.Choices[0].Text)
		}
	}
	ask("")
	ask(line.Stages[1].Node)
	line = lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" && l.Replays > 0 })
	t.Logf("%+v", line)
	ask(line.Stages[0].Node)
}

// Nodes that nobody can dial hold a model together all the same, through the hub's relay,
// and one that is lost is replaced.
func TestPipelineThroughRelay(t *testing.T) {
	t.Parallel()
	hidden := func(name, owner, country string) NodeSpec {
		s := spec(name, owner, country, 30_000, "")
		s.Peers = node.PeersRelayed
		return s
	}
	n, c := startTest(t, hidden("paris-1", "alice", "FR"), hidden("rome-1", "bob", "IT"), hidden("bonn-1", "carol", "DE"), hidden("oslo-1", "dave", "NO"))
	pushCoral(t, c)
	// With int8 between the nodes: then one node by itself quantises in the same places.
	short := api.ServiceSpec{Model: "storyteller", Terms: api.Terms{Params: map[string]json.RawMessage{"profile": json.RawMessage(`"q8/1,3"`)}}}
	if _, err := c.PutService(t.Context(), "alone", short); err != nil {
		t.Fatal(err)
	}
	var whole, plain openaiwire.Text
	for model, answer := range map[string]*openaiwire.Text{"alone": &whole, "storyteller": &plain} {
		if res, failed := post(t, n, "/v1/completions", strings.Replace(story3, "story3", model, 1)+"}", answer); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %+v", res.Status, failed)
		}
	}
	if whole.Choices[0].Text == plain.Choices[0].Text {
		t.Error("the profile's boundaries change nothing")
	}
	short.Pipeline = "3"
	if _, err := c.PutService(t.Context(), "story3", short); err != nil {
		t.Fatal(err)
	}
	line := lineOf(t, c, func(l *api.Line) bool { return l.State == "ready" })
	if at := []int{line.Stages[1].Layers[0], line.Stages[2].Layers[0]}; !slices.Equal(at, []int{1, 3}) {
		t.Errorf("cut before layers %v", at)
	}
	for row, err := range c.Nodes(t.Context()) {
		if err != nil || !slices.Equal(row.Peers, []string{relay.Address(row.ID)}) {
			t.Errorf("other nodes dial %s at %s, %v", row.ID, row.Peers, err)
		}
	}
	next, stop := iter.Pull2(stream(t, n, "/v1/completions", story3+`,"stream":true}`))
	defer stop()
	begun, _ := textOf(t, next, func(text string) bool { return len(text) > 40 })
	if err := n.Kill(line.Stages[1].Node); err != nil {
		t.Fatal(err)
	}
	rest, _ := textOf(t, next, func(string) bool { return false })
	if begun+rest != whole.Choices[0].Text {
		t.Errorf("%q and %q, want %q", begun, rest, whole.Choices[0].Text)
	}
	lineOf(t, c, func(l *api.Line) bool { return len(l.Stages) == 3 && l.Stages[2].RTTMs > 0 && l.Stages[2].Mbit > 0 }) // they have measured the way
	if metric(t, n, "atoll_relay_bytes_total") == 0 || metric(t, n, "atoll_relay_circuits") == 0 {
		t.Error("nothing went through the relay")
	}
}

// metric reads one of the hub's metrics.
func metric(t *testing.T, n *Network, name string) float64 {
	t.Helper()
	res, err := http.Get(n.Hub.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s: %v", name, lines.Err())
	return 0
}
