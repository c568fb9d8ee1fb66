package agent

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
)

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Faults{
		"":         {},
		"lie=0.3":  {Lie: 0.3},
		"lie=1":    {Lie: 1},
		"delay=2s": {Delay: 2 * time.Second},
		"lie=0.3,crash-after=20,delay=2s,share-lie,drop-report=0.1,seed=7": {Lie: 0.3, CrashAfter: 20, Delay: 2 * time.Second, ShareLie: true, DropReport: 0.1, Seed: 7},
	} {
		got, err := ParseFaults(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, why := range map[string]string{
		"lie":                "share over 0",
		"lie=":               "share over 0",
		"lie=0":              "share over 0",
		"lie=-0.1":           "share over 0",
		"lie=1.1":            "share over 0",
		"lie=NaN":            "share over 0",
		"lie=30%":            "share over 0",
		"drop-report=2":      "share over 0",
		"lie=0.3,lie=0.4":    "given twice",
		"lie=0.3,":           "not one of",
		" lie=0.3":           "not one of",
		"crash-after=0":      "at least 1",
		"crash-after=1.5":    "at least 1",
		"delay=2":            "time such as 2s",
		"delay=-2s":          "time such as 2s",
		"delay=9999h":        "at most 1h",
		"share-lie":          "share-lie without lie",
		"lie=1,share-lie=no": "takes no value",
		"seed=-1":            "whole number",
		"explode":            "not one of lie, share-lie",
	} {
		if _, err := ParseFaults(text); !errors.Is(err, ErrFaults) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("lie=0.3,crash-after=20,delay=2s,share-lie,drop-report=0.1,seed=7")
	f.Add("lie=1e-300,delay=1ns")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFaults(text)
		if err != nil {
			if got != (Faults{}) {
				t.Fatalf("%q: %+v along with %v", text, got, err)
			}
			return
		}
		if again, err := ParseFaults(got.String()); err != nil || again != got {
			t.Fatalf("%q: %+v is written as %q and read as %+v, %v", text, got, got, again, err)
		}
		if got.Lie < 0 || got.Lie > 1 || got.DropReport < 0 || got.DropReport > 1 || got.Delay < 0 || got.CrashAfter < 0 {
			t.Fatalf("%q: %+v", text, got)
		}
	})
}

func TestAlter(t *testing.T) {
	t.Parallel()
	data := []byte(`{"label":"card_lost"}`)
	lies := func(f Faults) (altered [][]byte, n int) {
		for i := range 2000 {
			l := bus.Lease{ID: core.LeaseID(1e6 + i + int(f.Seed)<<32), Task: 3, Part: i, Input: core.DigestOf(fmt.Append(nil, i))}
			out := f.Alter(&l, data)
			if again := f.Alter(&l, data); !bytes.Equal(out, again) {
				t.Fatal("the same lease gets two answers")
			}
			if len(out) != len(data) {
				t.Fatalf("a lie of %d bytes for %d", len(out), len(data))
			}
			if altered = append(altered, out); !bytes.Equal(out, data) {
				n++
			}
		}
		return altered, n
	}
	agree := func(a, b [][]byte) (n int) { // of those that are lies
		for i := range a {
			if bytes.Equal(a[i], b[i]) && !bytes.Equal(a[i], data) {
				n++
			}
		}
		return n
	}
	if _, n := lies(Faults{Seed: 1}); n != 0 {
		t.Errorf("an honest node lies %d times", n)
	}
	if _, n := lies(Faults{Lie: 1, Seed: 1}); n != 2000 {
		t.Errorf("lie=1: %d of 2000", n)
	}
	a, n := lies(Faults{Lie: 0.3, Seed: 1})
	if n < 500 || n > 700 {
		t.Errorf("lie=0.3: %d of 2000", n)
	}
	b, _ := lies(Faults{Lie: 0.3, Seed: 2})
	if agree(a, b) > 10 {
		t.Errorf("liars on their own agree on %d lies", agree(a, b))
	}
	a, n = lies(Faults{Lie: 0.3, ShareLie: true, Seed: 1})
	b, _ = lies(Faults{Lie: 0.3, ShareLie: true, Seed: 2})
	if agree(a, b) != n || n < 500 {
		t.Errorf("conspirators agree on %d of %d lies", agree(a, b), n)
	}
	if out := (Faults{Lie: 1}).Alter(&bus.Lease{ID: 1}, nil); len(out) == 0 {
		t.Error("no lie about an empty result")
	}
	if string(data) != `{"label":"card_lost"}` {
		t.Error("the true result was changed")
	}
}

func TestFaultsInTheCore(t *testing.T) {
	t.Parallel()
	t.Run("crash-after", func(t *testing.T) {
		t.Parallel()
		d := drive(t, func(c *CoreConfig) { c.Faults.CrashAfter = 2 })
		d.offers(testLease(1), testLease(2), testLease(3))
		if fx := d.done(1, Outcome{Data: []byte("x")}); fx.Die {
			t.Error("died after the first part")
		}
		if fx := d.done(2, Outcome{Data: []byte("x")}); !fx.Die || len(fx.Send)+len(fx.Start) != 0 {
			t.Errorf("did not die without a word: %+v", fx)
		}
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		d := drive(t, func(c *CoreConfig) { c.Faults.Delay = time.Minute })
		if fx := d.offers(testLease(1)); fx.Start[0].Delay != time.Minute {
			t.Error("no delay")
		}
	})
	t.Run("lie", func(t *testing.T) {
		t.Parallel()
		d := drive(t, func(c *CoreConfig) { c.Faults.Lie = 1 })
		d.offers(testLease(1), testLease(2))
		d.done(1, Outcome{Data: []byte("truth")})
		d.done(2, Outcome{Failure: "input refused"})
		d.store()
		r := of[bus.Report](d, bus.KindReport)[0].Results
		if string(r[0].Data) == "truth" || string(r[1].Data) != "input refused" {
			t.Errorf("%q, %q", r[0].Data, r[1].Data)
		}
	})
	t.Run("drop-report", func(t *testing.T) {
		t.Parallel()
		d := drive(t, func(c *CoreConfig) { c.Faults.DropReport = 0.5 })
		sent := 0
		for i := range 200 {
			d.offers(testLease(core.LeaseID(i + 1)))
			d.done(core.LeaseID(i+1), Outcome{Data: []byte("x")})
			d.store()
			sent += len(of[bus.Report](d, bus.KindReport))
			d.take(d.Ack(d.now, bus.Ack{Leases: []core.LeaseID{core.LeaseID(i + 1)}}))
		}
		if sent < 60 || sent > 140 {
			t.Errorf("%d of 200 reports left", sent)
		}
	})
}
