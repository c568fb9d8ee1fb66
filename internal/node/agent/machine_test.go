package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/node/outbox"
)

// machine is a hub, a network that loses, doubles and reorders, a disk, and a
// node that crashes between any two steps.
type machine struct {
	tb     testing.TB
	t      *rapid.T
	core   *Core
	disk   *outbox.Memory
	signer *jsonSigner
	now    time.Time

	// The node's present life.
	runs    map[core.LeaseID]Start // started, not done
	uploads map[core.LeaseID]bool
	started map[core.LeaseID]bool
	batch   *Batch
	commit  bool // batch has been through Commit

	life    int
	oldMail []mail // of all lives
	toHub   []Message
	offers  map[core.LeaseID]bus.Lease
	// What the hub has durably: reports and refusals, and what it called off.
	reported map[core.LeaseID]string
	refused  map[core.LeaseID]bool
	called   map[core.LeaseID]bool
	acked    map[core.LeaseID]bool // the node was told, in this life or with effect
	receipts map[core.LeaseID]int  // the signature under which a lease was first sent
	stored   map[core.LeaseID]bool // was on the disk at some time
}

func newMachine(tb testing.TB, t *rapid.T) *machine {
	m := &machine{
		tb: tb, t: t, disk: &outbox.Memory{}, signer: &jsonSigner{}, now: start,
		offers: map[core.LeaseID]bus.Lease{}, reported: map[core.LeaseID]string{}, refused: map[core.LeaseID]bool{},
		called: map[core.LeaseID]bool{}, acked: map[core.LeaseID]bool{}, receipts: map[core.LeaseID]int{}, stored: map[core.LeaseID]bool{},
	}
	m.boot()
	return m
}

func (m *machine) boot() {
	m.life++
	cfg := testConfig(m.disk)
	cfg.Signer, cfg.Boot = m.signer, m.bootID()
	c, err := NewCore(m.now, cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	all, err := m.disk.All()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range all { // an acknowledgement that was not yet noted on the disk is lost
		for _, id := range e.Leases {
			delete(m.acked, id)
		}
	}
	m.core, m.batch, m.commit = c, nil, false
	m.runs, m.uploads, m.started = map[core.LeaseID]Start{}, map[core.LeaseID]bool{}, map[core.LeaseID]bool{}
	m.effects(c.Connected(m.now))
}

// effects carries out what a step demands, and checks what must always hold.
func (m *machine) effects(fx Effects) {
	for _, s := range fx.Start {
		id := s.Lease.ID
		if m.started[id] {
			m.t.Fatalf("%s was started twice in one life", id)
		}
		m.started[id] = true
		m.runs[id] = s
	}
	if n := len(m.runs) + len(m.uploads); n > 2 {
		m.t.Fatalf("%d parts in 2 slots", n)
	}
	for _, u := range fx.Upload {
		m.uploads[u.Lease] = true
	}
	for _, msg := range fx.Send {
		if msg.Kind == bus.KindReport {
			m.sends(msg)
		}
		m.toHub = append(m.toHub, msg)
	}
	if m.core.Holding() > 8 {
		m.t.Fatalf("holds %d leases in a queue of 8", m.core.Holding())
	}
}

// sends checks a report that leaves the node.
func (m *machine) sends(msg Message) {
	for _, id := range m.onDisk(msg.Data) {
		m.stored[id] = true
	}
	_, s := openReport(m.t, msg.Data)
	live := false
	for _, id := range s.Leases {
		live = live || !m.acked[id]
		if n, ok := m.receipts[id]; ok && n != s.N {
			m.t.Fatalf("%s was reported under two receipts", id)
		}
		m.receipts[id] = s.N
		if !m.stored[id] {
			m.t.Fatalf("%s was reported before its report was stored", id)
		}
	}
	if !live {
		m.t.Fatalf("a report of which all is acknowledged was sent again: %v", s.Leases)
	}
}

func (m *machine) onDisk(body []byte) []core.LeaseID {
	all, err := m.disk.All()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range all {
		if string(e.Body) == string(body) {
			return e.Leases
		}
	}
	return nil
}

func openReport(t *rapid.T, data []byte) (bus.Report, signed) {
	var r bus.Report
	var s signed
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.Envelope, &s); err != nil {
		t.Fatal(err)
	}
	return r, s
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func pick[T any](t *rapid.T, name string, list []T) T {
	if len(list) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(list).Draw(t, name)
}

// wanted are the leases of which the hub still wants to hear.
func (m *machine) wanted() (list []bus.Lease) {
	for _, id := range sorted(m.offers) {
		if _, done := m.reported[id]; !done && !m.refused[id] && !m.called[id] {
			list = append(list, m.offers[id])
		}
	}
	return list
}

func (m *machine) offer(t *rapid.T, leases ...bus.Lease) {
	mail := mail{m.life, sealLeases(m.tb, m.bootID(), m.now, leases...)}
	m.oldMail = append(m.oldMail, mail)
	m.receive(t, mail)
}

// mail is a sealed batch, and the life of the node that it is for.
type mail struct {
	life   int
	sealed []byte
}

func (m *machine) bootID() string { return fmt.Sprint("boot-", m.life) }

func (m *machine) receive(t *rapid.T, b mail) {
	fx, err := m.core.Lease(m.now, b.sealed)
	if b.life == m.life && err != nil || b.life != m.life && (!errors.Is(err, ErrOtherLife) || len(fx.Start) > 0) {
		t.Fatalf("mail for life %d, in life %d: %v, starts %v", b.life, m.life, err, fx.Start)
	}
	m.effects(fx)
}

// deliver gives a message to the hub, which answers.
func (m *machine) deliver(t *rapid.T, msg Message, lossy bool) {
	switch msg.Kind {
	case bus.KindStatus:
		var s bus.Status
		if err := json.Unmarshal(msg.Data, &s); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Refused {
			if _, done := m.reported[r.Lease]; !done {
				m.refused[r.Lease] = true
			}
		}
	case bus.KindReport:
		r, s := openReport(t, msg.Data)
		for i, id := range s.Leases {
			if r.Results[i].Lease != id || (!r.Results[i].Uploaded && core.DigestOf(r.Results[i].Data) != s.Results[i]) {
				t.Fatalf("result and receipt of %s do not belong together", id)
			}
			if old, ok := m.reported[id]; ok && old != string(r.Envelope) {
				t.Fatalf("%s came with two receipts", id)
			}
			m.reported[id] = string(r.Envelope)
		}
		if lossy && rapid.IntRange(0, 3).Draw(t, "ack lost") == 0 {
			return
		}
		ack := s.Leases
		if lossy && len(ack) > 1 && rapid.Bool().Draw(t, "partly") {
			ack = ack[:1]
		}
		for _, id := range ack {
			m.acked[id] = true
		}
		m.effects(m.core.Ack(m.now, bus.Ack{Leases: ack}))
	}
}

func (m *machine) finish(t *rapid.T, s Start) {
	id := s.Lease.ID
	delete(m.runs, id)
	out := Outcome{Data: []byte("result"), Started: m.now, Finished: m.now}
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0:
		out = Outcome{Failure: "input refused: line 1"}
	case 1:
		out = Outcome{Fault: "no disk"}
	case 2:
		out.Data = make([]byte, bus.InlineLimit+1)
	}
	m.effects(m.core.Done(m.now, id, out))
	m.effects(m.core.Done(m.now, id, out)) // said twice changes nothing
}

func (m *machine) take() bool {
	if m.batch != nil {
		return false
	}
	m.batch = m.core.Take()
	return m.batch != nil
}

func (m *machine) write(t *rapid.T) {
	if err := m.batch.Commit(); err != nil {
		t.Fatal(err)
	}
	m.commit = true
	for _, e := range m.batch.entries {
		for _, id := range e.Leases {
			m.stored[id] = true
		}
	}
}

func (m *machine) committed(t *rapid.T) {
	b := m.batch
	m.batch, m.commit = nil, false
	fx, err := m.core.Committed(m.now, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.effects(fx)
}

func (m *machine) actions() map[string]func(*rapid.T) {
	next := core.LeaseID(0)
	return map[string]func(*rapid.T){
		"offer": func(t *rapid.T) {
			var leases []bus.Lease
			for range rapid.IntRange(1, 4).Draw(t, "leases") {
				next++
				l := testLease(next)
				l.Account = core.AccountID(rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "account"))
				if rapid.IntRange(0, 9).Draw(t, "cheap") == 0 {
					l.Price = 0
				}
				m.offers[l.ID] = l
				leases = append(leases, l)
			}
			if rapid.IntRange(0, 4).Draw(t, "lost") > 0 {
				m.offer(t, leases...)
			}
		},
		"offer again": func(t *rapid.T) { m.offer(t, pick(t, "lease", m.wanted())) },
		"late copy":   func(t *rapid.T) { m.receive(t, pick(t, "batch", m.oldMail)) },
		"cancel": func(t *rapid.T) {
			l := pick(t, "lease", m.wanted())
			m.called[l.ID] = true
			fx := m.core.Cancel(m.now, bus.Cancel{Leases: []core.LeaseID{l.ID}})
			for _, id := range fx.Stop {
				if _, runs := m.runs[id]; !runs {
					t.Fatalf("%s was stopped and does not run", id)
				}
			}
			m.effects(fx)
		},
		"begin": func(t *rapid.T) { m.effects(m.core.Running(m.now, pick(t, "run", sorted(m.runs)))) },
		"done":  func(t *rapid.T) { m.finish(t, m.runs[pick(t, "run", sorted(m.runs))]) },
		"uploaded": func(t *rapid.T) {
			id := pick(t, "upload", sorted(m.uploads))
			delete(m.uploads, id)
			m.effects(m.core.Uploaded(m.now, id, nil))
		},
		"take": func(t *rapid.T) {
			if !m.take() {
				t.Skip("nothing")
			}
		},
		"write": func(t *rapid.T) {
			if m.batch == nil || m.commit {
				t.Skip("nothing")
			}
			m.write(t)
		},
		"committed": func(t *rapid.T) {
			if !m.commit {
				t.Skip("nothing")
			}
			m.committed(t)
		},
		"crash": func(t *rapid.T) { m.boot() },
		"tick": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(-500, 3000).Draw(t, "ms")) * time.Millisecond)
			m.effects(m.core.Tick(m.now))
		},
		"reconnect": func(t *rapid.T) { m.effects(m.core.Connected(m.now)) },
		"deliver": func(t *rapid.T) {
			if len(m.toHub) == 0 {
				t.Skip("none")
			}
			i := rapid.IntRange(0, len(m.toHub)-1).Draw(t, "message")
			msg := m.toHub[i]
			if !rapid.Bool().Draw(t, "stays for another time") {
				m.toHub = slices.Delete(m.toHub, i, i+1)
			}
			m.deliver(t, msg, true)
		},
		"lose": func(*rapid.T) { m.toHub = nil },
	}
}

// heal lets everything come to its end.
func (m *machine) heal(t *rapid.T) {
	if m.commit {
		m.committed(t)
	}
	m.batch = nil
	m.boot()
	for round := 0; len(m.wanted()) > 0 || !m.core.Idle(); round++ {
		if round > 400 {
			t.Fatalf("no end: %d wanted, %d held, %d reports", len(m.wanted()), m.core.Holding(), m.core.Unacknowledged())
		}
		if w := m.wanted(); len(w) > 0 {
			m.offer(t, w[:min(len(w), 6)]...)
		}
		for _, id := range sorted(m.runs) {
			delete(m.runs, id)
			m.effects(m.core.Done(m.now, id, Outcome{Data: []byte("result")}))
		}
		if m.take() {
			m.write(t)
			m.committed(t)
		}
		mail := m.toHub
		m.toHub = nil
		for _, msg := range mail {
			m.deliver(t, msg, false)
		}
		m.now = m.now.Add(time.Second)
		m.effects(m.core.Tick(m.now))
	}
}

// Whatever the order of offers, copies, losses, cancels and crashes: no lease is
// run twice in one life, none is reported before its report is stored nor under
// two receipts, none that was stored is lost, and in the end all is quiet.
func TestCoreUnderChaos(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t, rt)
		rt.Repeat(m.actions())
		m.heal(rt)
		for id := range m.stored {
			if _, ok := m.reported[id]; !ok {
				rt.Fatalf("%s was stored, and the hub never heard of it", id)
			}
		}
		if all, _ := m.disk.All(); len(all) != 0 {
			rt.Fatalf("%d reports stay on the disk for ever", len(all))
		}
		if c := m.core; c.running != 0 || c.cpu != 0 || c.mem != 0 || len(c.byLease) != 0 || len(c.queue) != 0 {
			rt.Fatalf("something is left in use: %d slots, %d reported", c.running, len(c.byLease))
		}
		for range 100 {
			m.now = m.now.Add(time.Minute)
			for _, msg := range m.core.Tick(m.now).Send {
				if msg.Kind != bus.KindHeartbeat {
					rt.Fatalf("a %s is sent though all is over", msg.Kind)
				}
			}
		}
	})
}
