package simulate

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
	"os"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"atoll/internal/fed"
	"atoll/internal/repro"
	"atoll/internal/table"
)

// The census over ten offices, of which one takes ten times as long to train, and one three
// times: if all are waited for, if the slow are left out, and at each one's own pace.
func TestPublishedPace(t *testing.T) {
	t.Parallel()
	file := published(t, "fl-uci-adult/adult.csv.gz", "archive.ics.uci.edu/dataset/2/adult")
	text, err := os.ReadFile("testdata/adult.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var spec members
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		t.Fatal(err)
	}
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := repro.NewPool(1, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	const train = time.Minute
	run := func(what string, change members) (took time.Duration) {
		with := maps.Clone(spec)
		maps.Copy(with, change)
		b, err := json.Marshal(with)
		if err != nil {
			t.Fatal(err)
		}
		s, err := fed.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), Config{
			Spec: s, Pool: pool, Partition: table.Partition{Sites: 10, Seed: 1},
			Rows: func(r *table.Resource) iter.Seq2[table.Row, error] { return r.ReadCSV("adult", bytes.NewReader(file)) },
			Delay: func(site int, _ *fed.Reply, trained bool) time.Duration {
				if !trained {
					return time.Second / 10
				}
				return train*[]time.Duration{10, 3, 1, 1, 1, 1, 1, 1, 1, 1}[site] + time.Duration(site)*time.Second
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		updates, slow, rounds := 0, 0, r.State.Rounds[:s.Rounds]
		for _, x := range rounds {
			updates += len(x.Sites)
			for _, i := range x.Sites {
				if i < 2 {
					slow++
				}
			}
		}
		took = time.Duration(rounds[len(rounds)-1].EndedMs-rounds[0].BeganMs) * time.Millisecond
		t.Logf("%-22s %2d rounds, %3d updates, of which %2d of slow sites, in %6.1f minutes: accuracy %.4f", what, len(rounds), updates, slow, took.Minutes(), accuracy(r.Federated))
		if got := accuracy(r.Federated); got < 0.84 {
			t.Errorf("%s: %.4f", what, got)
		}
		return took
	}
	all := run("all are waited for", members{"deadline": "1h"})
	few := run("enough: 8", members{"deadline": "1h", "sites": members{"enough": 8}})
	own := run("buffers of 5", members{"rounds": 20, "async": members{"buffer": 5, "staleness": 20}, "sites": members{"corrupt": 0.1}})
	if few*5 > all || own*4 > all {
		t.Errorf("all are waited for %s, the fast ones for %s, at their own pace %s", all, few, own)
	}
}
