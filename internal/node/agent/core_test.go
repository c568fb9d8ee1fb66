package agent

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/outbox"
	"atoll/internal/shard/charter"
)

// Each lease that a node must not take, with the words that say why.
func TestRefusals(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("x"), bus.InlineLimit+1)
	for name, tt := range map[string]struct {
		change func(*bus.Lease)
		why    string // empty: taken
	}{
		"none":              {func(*bus.Lease) {}, ""},
		"anywhere":          {func(l *bus.Lease) { l.Residency, l.Selector = nil, "" }, ""},
		"large input":       {func(l *bus.Lease) { l.Data, l.Input, l.InputSize = nil, core.DigestOf(big), int64(len(big)) }, ""},
		"a line's model":    {func(l *bus.Lease) { l.ModelSize, l.Line = 1<<40, charter.ID{1} }, ""},
		"penalty":           {func(l *bus.Lease) { l.LatencyMs, l.PenaltyPerMille = 2000, 205 }, "withholds 20.5 % of the price for a report after more than 2s, and this node takes at most 20 %"},
		"no penalty":        {func(l *bus.Lease) { l.PenaltyPerMille = -1 }, "latency or penalty is out of bounds"},
		"price":             {func(l *bus.Lease) { l.Price = 29_999 }, "price 0.029999 is under this node's floor of 0.03"},
		"expired":           {func(l *bus.Lease) { l.ExpiresMs = start.UnixMilli() - 5 }, "expired, 5 ms ago"},
		"account":           {func(l *bus.Lease) { l.Account = "mallory" }, `does not work for account "mallory"`},
		"engine":            {func(l *bus.Lease) { l.Engine = "llm" }, `no engine "llm", only text, wasm`},
		"cpu":               {func(l *bus.Lease) { l.CPUMillis = 2001 }, "2001 thousandths of a core"},
		"memory":            {func(l *bus.Lease) { l.Memory = 1<<30 + 1 }, "1073741825 bytes of memory"},
		"model size":        {func(l *bus.Lease) { l.ModelSize = 1<<20 + 1 }, "a model of 1048577 bytes"},
		"input size":        {func(l *bus.Lease) { l.Data, l.InputSize = nil, 1<<20+1 }, "an input of 1048577 bytes, and this node takes 1048576"},
		"residency":         {func(l *bus.Lease) { l.Residency = []string{"DE", "US"} }, "this node is in FR, and the task may run in DE, US only"},
		"residency unknown": {func(l *bus.Lease) { l.Residency = []string{"Atlantis"} }, "residency: "},
		"labels":            {func(l *bus.Lease) { l.Selector = "tier=silver" }, "labels do not match tier"},
		"selector":          {func(l *bus.Lease) { l.Selector = "tier in (" }, "selector: "},
		"input digest":      {func(l *bus.Lease) { l.Input[0]++ }, "input does not match its digest"},
		"input missing":     {func(l *bus.Lease) { l.Data = nil }, "should come along: 0 bytes"},
		"input too much":    {func(l *bus.Lease) { l.InputSize = bus.InlineLimit + 1 }, "should not come along"},
		"nonce":             {func(l *bus.Lease) { l.Nonce = "" }, "no nonce"},
		"model":             {func(l *bus.Lease) { l.Model = core.Digest{} }, "no nonce, model or input"},
		"task":              {func(l *bus.Lease) { l.Task = 0 }, "no task and part"},
		"part":              {func(l *bus.Lease) { l.Part = -1 }, "no task and part"},
		"no limit":          {func(l *bus.Lease) { l.ExecutionMs = 0 }, "execution limit of 0 ms"},
		"endless":           {func(l *bus.Lease) { l.ExecutionMs = 1 << 62 }, "execution limit of"},
		"negative":          {func(l *bus.Lease) { l.Memory = -1 }, "negative"},
		"long name":         {func(l *bus.Lease) { l.Engine = strings.Repeat("é", 5000) }, "no engine"},
	} {
		d := drive(t, func(c *CoreConfig) { c.Offer.Accounts = []core.AccountID{"alice"} })
		l := testLease(1)
		tt.change(&l)
		d.offers(l)
		s := of[bus.Status](d, bus.KindStatus)
		if tt.why == "" {
			if len(s) != 0 || len(d.runs) != 1 {
				t.Errorf("%s: %d runs, said %v", name, len(d.runs), s)
			}
			continue
		}
		if len(s) != 1 || len(s[0].Refused) != 1 || !strings.Contains(s[0].Refused[0].Reason, tt.why) || len(s[0].Refused[0].Reason) > maxReason {
			t.Errorf("%s: %+v, want %q", name, s, tt.why)
		}
		if len(d.runs) != 0 || d.Holding() != 0 {
			t.Errorf("%s: taken all the same", name)
		}
		// The same offer gets the same answer.
		d.pass(statusEvery)
		d.sent = nil
		d.offers(l)
		if again := of[bus.Status](d, bus.KindStatus); !reflect.DeepEqual(again, s) {
			t.Errorf("%s: again %+v, first %+v", name, again, s)
		}
	}
}

func TestBatchesOfOthers(t *testing.T) {
	t.Parallel()
	stranger, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	good := bus.LeaseBatch{Hub: testHub, Node: testNode, Boot: testBoot, IssuedMs: start.UnixMilli(), Leases: []bus.Lease{testLease(1)}}
	change := func(f func(*bus.LeaseBatch)) []byte { b := good; f(&b); return seal(t, hubKey(), b) }
	forged := seal(t, hubKey(), good)
	forged[len(forged)-2] ^= 1
	otherKind, err := identity.Seal("application/x-other", []byte("{}"), hubKey())
	if err != nil {
		t.Fatal(err)
	}
	garbage, err := identity.Seal(bus.LeasePayloadType, []byte(`{"leases":3}`), hubKey())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		sealed []byte
		want   error
	}{
		"other hub's key": {seal(t, stranger, good), identity.ErrOtherSeal},
		"forged":          {forged, identity.ErrSignature},
		"other purpose":   {otherKind, identity.ErrSignature},
		"not sealed":      {[]byte(`{"leases":[]}`), identity.ErrSealForm},
		"garbage":         {garbage, ErrBatch},
		"other hub":       {change(func(b *bus.LeaseBatch) { b.Hub = "hub-2" }), ErrOtherHub},
		"other node":      {change(func(b *bus.LeaseBatch) { b.Node = "rome-1" }), ErrOtherNode},
		"other life":      {change(func(b *bus.LeaseBatch) { b.Boot = "boot-0" }), ErrOtherLife},
		"no life":         {change(func(b *bus.LeaseBatch) { b.Boot = "" }), ErrOtherLife},
		"no date":         {change(func(b *bus.LeaseBatch) { b.IssuedMs = 0 }), ErrBatch},
	} {
		d := drive(t, nil)
		fx, err := d.Lease(d.now, tt.sealed)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		d.take(fx)
		if s := of[bus.Status](d, bus.KindStatus); len(s)+len(fx.Start)+d.Holding() != 0 {
			t.Errorf("%s: had an effect: %v", name, s)
		}
	}
}

func TestFullAndDraining(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Queue = 3 })
	d.offers(testLease(1), testLease(2), testLease(3), testLease(4))
	s := of[bus.Status](d, bus.KindStatus)
	if len(s) != 1 || len(s[0].Refused) != 1 || !strings.Contains(s[0].Refused[0].Reason, "queue is full: it holds 3") {
		t.Fatalf("fourth of three: %+v", s)
	}
	d.take(d.Drain(d.now))
	if h := of[bus.Heartbeat](d, bus.KindHeartbeat); len(h) != 1 || !h[0].Draining || h[0].Holding != 2 {
		t.Errorf("heartbeat at drain: %+v", h)
	}
	d.pass(statusEvery)
	s = of[bus.Status](d, bus.KindStatus)
	if len(s) != 1 || len(s[0].Refused) != 1 || s[0].Refused[0] != (bus.Refusal{Lease: 3, Reason: shuttingDown}) {
		t.Errorf("the queued lease was not given back: %+v", s)
	}
	d.offers(testLease(5))
	d.pass(statusEvery)
	if s := of[bus.Status](d, bus.KindStatus); len(s) != 1 || s[0].Refused[0].Reason != shuttingDown {
		t.Errorf("a draining node took a lease: %+v", s)
	}
	for id := core.LeaseID(1); id <= 2; id++ {
		if d.Idle() {
			t.Error("idle with work undone")
		}
		d.done(id, Outcome{Data: []byte("x")})
	}
	d.store()
	if d.Idle() {
		t.Error("idle before the report is acknowledged")
	}
	d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{1, 2}}))
	d.store() // nothing else to write: the outbox is told to forget
	if all, _ := d.disk.All(); !d.Idle() || len(all) != 0 {
		t.Errorf("not idle in the end: %v", all)
	}
}

// What a node says of a lease, in order of what happens to it.
func TestStatus(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Slots = 3 })
	d.offers(testLease(1), testLease(2), testLease(3), testLease(4))
	if s := of[bus.Status](d, bus.KindStatus); len(s) != 0 {
		t.Fatalf("good news did not wait for company: %+v", s)
	}
	d.done(1, Outcome{Data: []byte("x")}) // needs no mention any more
	d.take(d.Running(d.now, 2))
	d.pass(statusEvery)
	want := []bus.Status{{Started: []core.LeaseID{2}, Accepted: []core.LeaseID{3, 4}}}
	if s := of[bus.Status](d, bus.KindStatus); !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v, want %+v", s, want)
	}
	d.take(d.Running(d.now, 3))
	d.done(4, Outcome{Fault: "no disk"})
	d.pass(statusEvery)
	want = []bus.Status{{Started: []core.LeaseID{3}, Refused: []bus.Refusal{{Lease: 4, Reason: "no disk"}}}}
	if s := of[bus.Status](d, bus.KindStatus); !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v, want %+v", s, want)
	}
	d.offers(testLease(2)) // said again: answered again
	d.pass(statusEvery)
	want = []bus.Status{{Started: []core.LeaseID{2}}}
	if s := of[bus.Status](d, bus.KindStatus); !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v, want %+v", s, want)
	}
	d.take(d.Connected(d.now))
	d.pass(statusEvery)
	want = []bus.Status{{Started: []core.LeaseID{2, 3}}}
	if s := of[bus.Status](d, bus.KindStatus); !reflect.DeepEqual(s, want) {
		t.Fatalf("after reconnecting %+v, want %+v", s, want)
	}
	if len(d.runs) != 4 {
		t.Errorf("%d runs of 4 leases", len(d.runs))
	}
}

func TestStatusPace(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	bad := func(id core.LeaseID) bus.Lease { l := testLease(id); l.Price = 0; return l }
	messages := 0
	for i := range 100 { // one refusal a millisecond
		d.offers(bad(core.LeaseID(i + 1)))
		messages += len(of[bus.Status](d, bus.KindStatus))
		d.pass(time.Millisecond)
		messages += len(of[bus.Status](d, bus.KindStatus))
	}
	if messages < 1 || messages > 2 {
		t.Errorf("%d status messages in 100 ms, want one in each 100 ms", messages)
	}
	many := make([]bus.Lease, 0, 2*statusRefusals)
	for i := range cap(many) {
		many = append(many, bad(core.LeaseID(1000+i)))
	}
	d.pass(time.Second)
	d.sent = nil
	d.offers(many...)
	told := 0
	for range 3 {
		for _, s := range of[bus.Status](d, bus.KindStatus) {
			if told += len(s.Refused); len(s.Refused) > statusRefusals {
				t.Errorf("%d refusals in one message", len(s.Refused))
			}
		}
		d.pass(statusEvery)
	}
	if told != len(many) {
		t.Errorf("%d of %d refusals told", told, len(many))
	}
}

func TestReportsGoByAccount(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Slots, c.Offer.Queue = 1000, 1000 })
	var leases []bus.Lease
	for i := range 600 {
		l := testLease(core.LeaseID(i + 1))
		l.Account = core.AccountID([]string{"alice", "bob"}[i%2])
		leases = append(leases, l)
	}
	d.offers(leases...)
	for i := range 600 {
		out := Outcome{Data: fmt.Appendf(nil, "result %d", i)}
		if i == 17 {
			out = Outcome{Failure: "input refused: line 3"}
		}
		d.done(core.LeaseID(i+1), out)
	}
	d.store()
	reports := of[bus.Report](d, bus.KindReport)
	var sizes []int
	for _, r := range reports {
		sizes = append(sizes, len(r.Results))
		for _, res := range r.Results {
			want := fmt.Sprintf("result %d", res.Lease-1)
			if res.Lease == 18 {
				want = "input refused: line 3"
			}
			if string(res.Data) != want {
				t.Fatalf("%s: %q, want %q", res.Lease, res.Data, want)
			}
		}
	}
	if d.disk.Puts() != 1 || !slices.Equal(sizes, []int{256, 256, 44, 44}) {
		t.Errorf("%d writes, reports of %v leases", d.disk.Puts(), sizes)
	}
}

func TestReportBytes(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Slots, c.Offer.Queue = 100, 100 })
	for i := range 100 {
		d.offers(testLease(core.LeaseID(i + 1)))
		d.done(core.LeaseID(i+1), Outcome{Data: bytes.Repeat([]byte("x"), bus.InlineLimit)})
	}
	n := 0
	for d.Holding() > 0 {
		d.store()
		for _, m := range d.sent {
			if m.Kind == bus.KindReport && len(m.Data) > bus.MaxMessage/2 {
				t.Errorf("a report of %d bytes", len(m.Data))
			}
		}
		for _, r := range of[bus.Report](d, bus.KindReport) {
			n += len(r.Results)
		}
	}
	for i := 0; n < 100 && i < 100; i++ { // a burst is spread
		d.pass(statusEvery)
		for _, r := range of[bus.Report](d, bus.KindReport) {
			n += len(r.Results)
		}
	}
	if n != 100 || d.disk.Puts() < 2 {
		t.Errorf("%d of 100 results in %d writes", n, d.disk.Puts())
	}
}

func TestResendBackoff(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	d.offers(testLease(1))
	d.done(1, Outcome{Data: []byte("x")})
	d.store()
	var at []time.Duration
	for range 1200 {
		if len(of[bus.Report](d, bus.KindReport)) > 0 {
			at = append(at, d.now.Sub(start))
		}
		d.pass(100 * time.Millisecond)
	}
	s := time.Second
	if want := []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 61 * s, 91 * s}; !slices.Equal(at, want) {
		t.Errorf("sent at %v, want %v", at, want)
	}
	d.take(d.Connected(d.now))
	if len(of[bus.Report](d, bus.KindReport)) != 1 {
		t.Error("not sent at once when the link is back")
	}
	d.offers(testLease(1))
	if len(of[bus.Report](d, bus.KindReport)) != 0 {
		t.Error("an offer said again within 100 ms brought another report")
	}
	d.pass(resendLeast)
	if len(of[bus.Report](d, bus.KindReport)) != 1 {
		t.Error("an offer of a reported lease is not answered by the report")
	}
	d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{1}}))
	d.offers(testLease(1))
	d.pass(time.Hour)
	if r := of[bus.Report](d, bus.KindReport); len(r) != 0 || len(d.runs) != 1 {
		t.Errorf("after the acknowledgement: %d reports, %d runs", len(r), len(d.runs))
	}
}

// What cannot be begun in time is given back in time, though every slot is taken.
func TestQueuedOfferExpires(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	late := testLease(3)
	late.ExpiresMs = start.Add(time.Second).UnixMilli()
	d.offers(testLease(1), testLease(2), late)
	d.pass(time.Second - time.Millisecond)
	of[bus.Status](d, bus.KindStatus)
	if d.Next() > time.Millisecond {
		t.Errorf("nobody is woken for it: %s", d.Next())
	}
	d.pass(time.Millisecond)
	d.pass(statusEvery)
	s := of[bus.Status](d, bus.KindStatus)
	if len(s) != 1 || len(s[0].Refused) != 1 || s[0].Refused[0].Lease != 3 || d.Holding() != 2 {
		t.Errorf("%+v, holding %d", s, d.Holding())
	}
}

// What is finished waits a moment for what is at hand, and no longer than there
// is anything to wait for.
func TestCompany(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	d.offers(testLease(1), testLease(2), testLease(3)) // two run, one is queued
	d.done(1, Outcome{Data: []byte("x")})
	if d.Take() != nil || d.Next() > company {
		t.Error("stored alone though others are at hand, or nobody is woken for it")
	}
	d.done(2, Outcome{Data: []byte("x")})
	d.done(3, Outcome{Data: []byte("x")})
	if d.store(); d.disk.Puts() != 1 || d.Unacknowledged() != 1 {
		t.Errorf("three leases took %d writes and %d reports", d.disk.Puts(), d.Unacknowledged())
	}
	d.offers(testLease(4), testLease(5))
	d.done(4, Outcome{Data: []byte("x")})
	d.pass(company - 1)
	if d.Take() != nil {
		t.Error("stored too soon")
	}
	d.pass(1)
	if d.Take() == nil {
		t.Error("waits without end for a part that takes long")
	}
}

// Acknowledged reports leave the disk with the next write, or soon on their own;
// while a batch is being written nobody is woken for it.
func TestForgetting(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	for id := core.LeaseID(1); id <= 2; id++ {
		d.offers(testLease(id))
		d.done(id, Outcome{Data: []byte("x")})
		d.store()
		d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{id, 77}}))
	}
	all, _ := d.disk.All()
	if len(all) != 1 || all[0].Leases[0] != 2 || d.disk.Puts() != 2 || d.Take() != nil {
		t.Fatalf("%d writes, on the disk %v", d.disk.Puts(), all)
	}
	d.offers(testLease(3), testLease(4))
	d.done(3, Outcome{Data: []byte("x")})
	d.store() // takes the removal along
	d.done(4, Outcome{Data: []byte("x")})
	b := d.batch()
	d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{3}}))
	d.pass(10 * time.Second)
	if d.Next() == 0 {
		t.Error("woken without end")
	}
	if fx, err := d.Committed(d.now, b, b.Commit()); err != nil {
		t.Fatal(err)
	} else {
		d.take(fx)
	}
	d.store() // long overdue, and on its own
	d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{4}}))
	if d.Take() != nil {
		t.Error("a write of its own at once")
	}
	d.pass(forgetWithin)
	d.store()
	if all, _ := d.disk.All(); len(all) != 0 || d.disk.Puts() != 6 {
		t.Errorf("%d writes, on the disk %v", d.disk.Puts(), all)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	d.offers(testLease(1), testLease(2), testLease(3))
	cancel := func(ids ...core.LeaseID) Effects {
		return d.take(d.Cancel(d.now, bus.Cancel{Leases: ids}))
	}
	if fx := cancel(1, 3, 9); !slices.Equal(fx.Stop, []core.LeaseID{1}) {
		t.Fatalf("stopped %v", fx.Stop)
	}
	if fx := cancel(1); len(fx.Stop) != 0 {
		t.Error("stopped twice")
	}
	d.offers(testLease(1), testLease(3), testLease(9)) // late copies
	for _, m := range d.done(1, Outcome{Fault: "stopped"}).Send {
		if m.Kind == bus.KindStatus {
			t.Errorf("a cancel was answered: %s", m.Data)
		}
	}
	d.done(2, Outcome{Data: []byte("x")})
	cancel(2) // has finished: is reported
	d.store()
	if r := of[bus.Report](d, bus.KindReport); len(r) != 1 || r[0].Results[0].Lease != 2 || len(d.runs) != 2 || d.Holding() != 0 {
		t.Errorf("reports %v, %d runs, %d held", r, len(d.runs), d.Holding())
	}
	d.pass(time.Second)
	if s := of[bus.Status](d, bus.KindStatus); len(s) != 0 {
		t.Errorf("a cancel was answered: %+v", s)
	}
}

func TestLargeResultIsUploaded(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Slots = 1 })
	large := bytes.Repeat([]byte("x"), bus.InlineLimit+1)
	d.offers(testLease(1), testLease(2))
	fx := d.done(1, Outcome{Data: large})
	if len(fx.Upload) != 1 || !bytes.Equal(fx.Upload[0].Data, large) || len(d.runs) != 1 || d.Take() != nil {
		t.Fatalf("%d uploads, %d runs", len(fx.Upload), len(d.runs))
	}
	d.take(d.Uploaded(d.now, 1, nil))
	d.store()
	r := of[bus.Report](d, bus.KindReport)
	if len(r) != 1 || !r[0].Results[0].Uploaded || r[0].Results[0].Data != nil || len(d.runs) != 2 {
		t.Errorf("%+v, %d runs", r, len(d.runs))
	}
	d.done(2, Outcome{Data: large})
	d.take(d.Uploaded(d.now, 2, errors.New("the hub answered 507")))
	d.pass(time.Second)
	s := of[bus.Status](d, bus.KindStatus)
	if n := len(s); n == 0 || len(s[n-1].Refused) != 1 || !strings.Contains(s[n-1].Refused[0].Reason, "could not be uploaded: the hub answered 507") {
		t.Errorf("%+v", s)
	}
}

// Parts run beside each other only as far as cores and memory go, and a large
// one is not overtaken for ever.
func TestResources(t *testing.T) {
	t.Parallel()
	d := drive(t, func(c *CoreConfig) { c.Offer.Slots = 4 })
	lease := func(id core.LeaseID, cpu, mem int64) bus.Lease {
		l := testLease(id)
		l.CPUMillis, l.Memory = cpu, mem
		return l
	}
	d.offers(lease(1, 500, 1<<29), lease(2, 2000, 1<<20), lease(3, 100, 1<<20), lease(4, 100, 1<<30))
	ran := func() (ids []core.LeaseID) {
		for _, r := range d.runs {
			ids = append(ids, r.Lease.ID)
		}
		return ids
	}
	if got := ran(); !slices.Equal(got, []core.LeaseID{1}) {
		t.Fatalf("running %v beside each other", got)
	}
	d.done(1, Outcome{})
	d.done(2, Outcome{})
	if got := ran(); !slices.Equal(got, []core.LeaseID{1, 2, 3}) {
		t.Fatalf("ran %v", got)
	}
	d.done(3, Outcome{})
	if got := ran(); !slices.Equal(got, []core.LeaseID{1, 2, 3, 4}) {
		t.Fatalf("ran %v", got)
	}
	d.done(4, Outcome{})
	if d.running != 0 || d.cpu != 0 || d.mem != 0 {
		t.Errorf("idle, with %d slots, %d cores and %d bytes in use", d.running, d.cpu, d.mem)
	}
}

// A node whose clock is wrong follows the hub's after a few batches, in either
// direction and after a jump.
func TestHubClock(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Hour, -time.Second, 0, time.Second, time.Hour} {
		d := drive(t, nil)
		d.now = start.Add(skew)
		var err error
		if d.Core, err = NewCore(d.now, testConfig(d.disk)); err != nil {
			t.Fatal(err)
		}
		hub := start
		for i := range 6 {
			l := testLease(core.LeaseID(i + 1))
			l.ExpiresMs = hub.Add(time.Minute).UnixMilli()
			fx, err := d.Lease(d.now, sealLeases(t, testBoot, hub, l))
			if err != nil {
				t.Fatal(err)
			}
			if taken := d.counts.Refused == 0; !taken && (skew <= 0 || i == 5 && d.counts.Refused > 3) {
				t.Errorf("clock off by %s: %d of %d leases refused as expired", skew, d.counts.Refused, i+1)
			}
			d.take(fx)
			d.done(l.ID, Outcome{})
			hub, d.now = hub.Add(time.Second), d.now.Add(time.Second)
		}
		late := testLease(99)
		late.ExpiresMs = hub.Add(-2 * time.Second).UnixMilli()
		before := d.counts.Refused
		if _, err := d.Lease(d.now, sealLeases(t, testBoot, hub.Add(-time.Minute), late)); err != nil {
			t.Fatal(err)
		}
		if d.counts.Refused != before+1 {
			t.Errorf("clock off by %s: an expired lease in an old batch was taken", skew)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	for range 100 {
		d.pass(d.Next())
		if d.now.Sub(start) > 10*time.Second {
			break
		}
	}
	beats := of[bus.Heartbeat](d, bus.KindHeartbeat)
	if len(beats) != 21 && len(beats) != 22 {
		t.Errorf("%d heartbeats in 10 s", len(beats))
	}
	for i, b := range beats {
		if b.Boot != testBoot || b.Seq != uint64(i+1) || b.Offer.Price != 30_000 {
			t.Fatalf("%+v", b)
		}
	}
	d.now = start.Add(-time.Hour) // the clock jumps back
	d.pass(0)
	d.pass(d.Next())
	if d.now.Sub(start.Add(-time.Hour)) > HeartbeatEvery || len(of[bus.Heartbeat](d, bus.KindHeartbeat)) != 1 {
		t.Error("a clock that jumped back silenced the node")
	}
}

func TestDiskFailureIsFatal(t *testing.T) {
	t.Parallel()
	d := drive(t, nil)
	broken := errors.New("no space left")
	d.disk.Fail = func() error { return broken }
	d.offers(testLease(1), testLease(2))
	d.done(1, Outcome{Data: []byte("x")})
	b := d.batch()
	d.done(2, Outcome{Data: []byte("x")})
	if d.Take() != nil {
		t.Error("two batches out at a time")
	}
	fx, err := d.Committed(d.now, b, b.Commit())
	if !errors.Is(err, broken) || len(fx.Send) != 0 {
		t.Errorf("%v, sent %v", err, fx.Send)
	}
}

func TestNewCoreRefusesBadConfig(t *testing.T) {
	t.Parallel()
	for i, change := range []func(*CoreConfig){
		func(c *CoreConfig) { c.Node = "" }, func(c *CoreConfig) { c.Hub = "" }, func(c *CoreConfig) { c.Boot = "" },
		func(c *CoreConfig) { c.HubKey = identity.PublicKey{} }, func(c *CoreConfig) { c.Signer = nil },
		func(c *CoreConfig) { c.Outbox = nil }, func(c *CoreConfig) { c.Offer.Slots = 0 },
		func(c *CoreConfig) { c.Offer.Queue = 1 }, func(c *CoreConfig) { c.Offer.Queue = maxQueue + 1 },
		func(c *CoreConfig) { c.Offer.Price = -1 },
	} {
		cfg := testConfig(&outbox.Memory{})
		change(&cfg)
		if _, err := NewCore(start, cfg); err == nil {
			t.Errorf("change %d was accepted", i)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 3 * rememberLeases {
		m.add(core.LeaseID(i+1), cancelled, "")
		m.add(core.LeaseID(i+1), acknowledged, "")
	}
	if len(m.memos) != rememberLeases || len(m.ring) != rememberLeases {
		t.Errorf("%d remembered, ring of %d", len(m.memos), len(m.ring))
	}
	if _, ok := m.find(2 * rememberLeases); ok {
		t.Error("an old lease is remembered")
	}
	if v, ok := m.find(2*rememberLeases + 1); !ok || v.how != acknowledged {
		t.Error("a recent lease is forgotten")
	}
}
