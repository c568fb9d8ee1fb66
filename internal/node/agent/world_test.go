package agent

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/outbox"
)

const (
	testHub  = "hub-1"
	testNode = core.NodeID("paris-1")
	testBoot = "boot-1"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hubKey is made once: making keys is slow beside the tests.
var hubKey = sync.OnceValue(func() *identity.Key {
	k, err := identity.Generate()
	if err != nil {
		panic(err)
	}
	return k
})

// jsonSigner "signs" by listing what it was given; no two signatures are equal.
type jsonSigner struct{ n int }

type signed struct {
	N       int
	Account core.AccountID
	Leases  []core.LeaseID
	Results []core.Digest
	Failed  []string
}

func (s *jsonSigner) Sign(account core.AccountID, done []Finished) (json.RawMessage, error) {
	s.n++
	v := signed{N: s.n, Account: account}
	for _, d := range done {
		if d.Lease.Account != account {
			return nil, fmt.Errorf("%s is not of %s", d.Lease.ID, account)
		}
		v.Leases, v.Results, v.Failed = append(v.Leases, d.Lease.ID), append(v.Results, d.Result), append(v.Failed, d.Failure)
	}
	return json.Marshal(v)
}

func testConfig(disk Outbox) CoreConfig {
	return CoreConfig{
		MaxPenalty: 200,
		Node:       testNode, Hub: testHub, HubKey: hubKey().Public(), Boot: testBoot,
		Offer: bus.NodeOffer{
			Price: 30_000, Country: "FR", Labels: map[string]string{"tier": "gold"}, Engines: []string{"text", "wasm"},
			Slots: 2, Queue: 8, CPUMillis: 2000, Memory: 1 << 30,
		},
		MaxInput: 1 << 20, MaxModel: 1 << 20,
		Signer: &jsonSigner{}, Outbox: disk,
	}
}

func testLease(id core.LeaseID) bus.Lease {
	data := fmt.Appendf(nil, "input of %d", id)
	return bus.Lease{
		ID: id, Task: 7, Part: int(id), Attempt: 1, Account: "alice", Engine: "text", Model: core.DigestOf([]byte("model")), ModelSize: 5,
		Input: core.DigestOf(data), InputSize: int64(len(data)), Data: data, Nonce: "nonce", Price: 30_000,
		ExecutionMs: 1000, ExpiresMs: start.Add(time.Hour).UnixMilli(), Residency: []string{"EU"}, Selector: "tier in (gold)",
	}
}

func seal(t testing.TB, key *identity.Key, b bus.LeaseBatch) []byte {
	t.Helper()
	payload, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := identity.Seal(bus.LeasePayloadType, payload, key)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func sealLeases(t testing.TB, boot string, now time.Time, leases ...bus.Lease) []byte {
	t.Helper()
	return seal(t, hubKey(), bus.LeaseBatch{Hub: testHub, Node: testNode, Boot: boot, IssuedMs: now.UnixMilli(), Leases: leases})
}

// driven is a Core with its disk and a clock to push.
type driven struct {
	*Core
	t    testing.TB
	disk *outbox.Memory
	now  time.Time
	sent []Message
	runs []Start
}

func drive(t testing.TB, change func(*CoreConfig)) *driven {
	t.Helper()
	d := &driven{t: t, disk: &outbox.Memory{}, now: start}
	cfg := testConfig(d.disk)
	if change != nil {
		change(&cfg)
	}
	c, err := NewCore(d.now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Core = c
	return d
}

func (d *driven) take(fx Effects) Effects {
	d.sent = append(d.sent, fx.Send...)
	d.runs = append(d.runs, fx.Start...)
	return fx
}

func (d *driven) offers(leases ...bus.Lease) Effects {
	d.t.Helper()
	fx, err := d.Lease(d.now, sealLeases(d.t, testBoot, d.now, leases...))
	if err != nil {
		d.t.Fatal(err)
	}
	return d.take(fx)
}

func (d *driven) pass(by time.Duration) Effects {
	d.now = d.now.Add(by)
	return d.take(d.Tick(d.now))
}

func (d *driven) done(id core.LeaseID, out Outcome) Effects { return d.take(d.Done(d.now, id, out)) }

// batch takes what has finished, if need be after its wait for company.
func (d *driven) batch() *Batch {
	d.t.Helper()
	b := d.Take()
	if b == nil {
		d.pass(company)
		b = d.Take()
	}
	if b == nil {
		d.t.Fatal("nothing to store")
	}
	return b
}

// store takes what has finished through the disk.
func (d *driven) store() Effects {
	d.t.Helper()
	b := d.batch()
	fx, err := d.Committed(d.now, b, b.Commit())
	if err != nil {
		d.t.Fatal(err)
	}
	return d.take(fx)
}

// of decodes the messages of one kind and forgets all that were sent.
func of[T any](d *driven, kind string) (list []T) {
	d.t.Helper()
	for _, m := range d.sent {
		if m.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			d.t.Fatal(err)
		}
		list = append(list, v)
	}
	d.sent = nil
	return list
}
