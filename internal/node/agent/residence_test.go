package agent

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
)

func TestLeavers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	kept, expired := now.Add(time.Second), now.Add(-time.Second)
	for _, c := range []struct {
		name   string
		models []*loaded // of size 10 each, named by used
		count  int
		limit  int64
		spare  bool
		want   []int64
		enough bool
	}{
		{"there is room", []*loaded{{used: 1}, {used: 2}}, 2, 20, false, nil, true},
		{"the longest unused", []*loaded{{used: 3}, {used: 1}, {used: 2}}, 9, 15, false, []int64{1, 2}, true},
		{"there are too many", []*loaded{{used: 2}, {used: 1}}, 1, 99, false, []int64{1}, true},
		{"none in use", []*loaded{{used: 1, users: 1}, {used: 2}, {used: 3}}, 9, 20, false, []int64{2}, true},
		{"all in use", []*loaded{{used: 1, users: 1}, {used: 2, users: 2}}, 9, 10, false, nil, false},
		{"kept ones last", []*loaded{{used: 1, keptUntil: kept}, {used: 3}, {used: 2}}, 9, 10, false, []int64{2, 3}, true},
		{"kept ones too, under pressure", []*loaded{{used: 1, keptUntil: kept}, {used: 2, users: 1}}, 9, 10, false, []int64{1}, true},
		{"kept ones are spared", []*loaded{{used: 1, keptUntil: kept}, {used: 2}}, 9, 5, true, []int64{2}, false},
		{"a wish that is over", []*loaded{{used: 1, keptUntil: expired}, {used: 2}}, 9, 10, true, []int64{1}, true},
	} {
		for _, m := range c.models {
			m.size = 10
		}
		out, enough := leavers(c.models, now, c.count, c.limit, c.spare)
		var got []int64
		for _, m := range out {
			got = append(got, m.used)
		}
		if !slices.Equal(got, c.want) || enough != c.enough {
			t.Errorf("%s: %v leave, enough %v; want %v, %v", c.name, got, enough, c.want, c.enough)
		}
	}
}

// A node keeps what a lease of it could have made it load.
func TestCoreKeeps(t *testing.T) {
	t.Parallel()
	good := bus.KeptModel{Engine: "text", Digest: core.Digest{1}, Size: 1 << 20, Account: "alice"}
	for _, c := range []struct {
		name string
		edit func(*bus.KeptModel)
		want bool
	}{
		{"as it should be", func(*bus.KeptModel) {}, true},
		{"an engine it has not", func(k *bus.KeptModel) { k.Engine = "llm" }, false},
		{"too large", func(k *bus.KeptModel) { k.Size++ }, false},
		{"a negative size", func(k *bus.KeptModel) { k.Size = -1 }, false},
		{"an account it does not serve", func(k *bus.KeptModel) { k.Account = "mallory" }, false},
		{"no account", func(k *bus.KeptModel) { k.Account = "" }, false},
	} {
		d := drive(t, func(cfg *CoreConfig) { cfg.Offer.Accounts = []core.AccountID{"alice", ""} })
		k := good
		c.edit(&k)
		if fx := d.Keep(d.now, bus.Keep{Models: []bus.KeptModel{k}}); (len(fx.Keep) == 1) != c.want {
			t.Errorf("%s: keeps %v", c.name, fx.Keep)
		}
	}
	d := drive(t, nil)
	d.Drain(d.now)
	if fx := d.Keep(d.now, bus.Keep{Models: []bus.KeptModel{good}}); len(fx.Keep) != 0 {
		t.Error("a node that shuts down loads a model")
	}
}

// What the hub wants kept is loaded before the first request, told, and not loaded
// again for it.
func TestAgentLoadsAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.agent.Connected()
	l := r.lease(1, "upper", "hello")
	told := func() bool {
		return slices.ContainsFunc(r.beats, func(b bus.Heartbeat) bool { return slices.Contains(b.Offer.Loaded, l.Model) })
	}
	r.until("the first heartbeat", func() bool { return len(r.beats) > 0 })
	r.look(func() {
		if told() {
			t.Error("the model is told to be loaded before it is")
		}
	})
	keep, err := json.Marshal(bus.Keep{Models: []bus.KeptModel{{Engine: l.Engine, Digest: l.Model, Size: l.ModelSize, Account: l.Account}}})
	if err != nil {
		t.Fatal(err)
	}
	r.agent.Handle(bus.Inbound{Kind: bus.KindKeep, Data: keep})
	r.until("a heartbeat with the model", told)
	r.offer(l)
	r.until("the report", func() bool { return len(r.reports) == 1 })
	if n := r.engine.loads.Load(); n != 1 {
		t.Errorf("loaded %d times", n)
	}
}

// A model for which there is no room beside those that are kept is not loaded ahead;
// one that others must leave for is, and is unloaded for none but what is in use.
func TestKeepWithinMemory(t *testing.T) {
	t.Parallel()
	e := &upper{}
	s := newInstances(t.Context(), &Config{Log: quiet}, nil)
	s.changed = func() {}
	now := time.Now()
	old := &loaded{key: modelKey{digest: core.Digest{1}}, size: s.limit / 2, ready: make(chan struct{}), there: true, inst: &upperInstance{e: e}, release: func() {}}
	kept := &loaded{key: modelKey{digest: core.Digest{2}}, size: s.limit / 2, ready: make(chan struct{}), there: true, keptUntil: now.Add(keepFor)}
	close(old.ready)
	s.loaded[old.key], s.loaded[kept.key] = old, kept
	s.keep(now, []bus.KeptModel{{Digest: core.Digest{3}, Size: s.limit/2 + 2}})
	if len(s.loaded) != 2 {
		t.Fatal("a model was taken that can only turn over those that are kept")
	}
	ready := &loaded{key: modelKey{engine: "text", digest: core.Digest{4}}, users: 1}
	s.loaded[ready.key] = ready
	if s.dismissFor(now, s.limit/2); s.loaded[old.key] != nil || s.loaded[kept.key] == nil {
		t.Error("the wrong model left")
	}
	s.wg.Wait()
	if e.closed.Load() != 1 {
		t.Error("who left was not closed")
	}
}
