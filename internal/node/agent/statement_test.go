package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/receipt"
)

// A lease that is taken can always be signed for, however strange the hub that
// offers it: an agent that cannot sign must stop, and would again after a restart.
func TestWhatIsTakenCanBeSigned(t *testing.T) {
	t.Parallel()
	signer, err := receipt.NewSigner(hubKey().Signer())
	if err != nil {
		t.Fatal(err)
	}
	statements, err := NewStatements(signer, receipt.Execution{Hub: testHub, Node: testNode, Owner: "olga"}, "FR")
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	rapid.Check(t, func(rt *rapid.T) {
		d := drive(t, func(c *CoreConfig) { c.Signer, c.Offer.Engines = statements, []string{"text"} })
		usual, sound := rapid.SampledFrom([]string{"alice", "n"}), rapid.SampledFrom([]int64{0, 1, 1000})
		text := rapid.OneOf(usual, usual, usual, rapid.String()) // mostly what is taken
		number := rapid.OneOf(sound, sound, sound, rapid.Int64())
		l := testLease(core.LeaseID(rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Min(0)).Draw(rt, "id")))
		l.Account = core.AccountID(text.Draw(rt, "account"))
		l.Nonce, l.Traceparent, l.Selector = text.Draw(rt, "nonce"), text.Draw(rt, "trace"), ""
		l.Attempt = int(number.Draw(rt, "attempt"))
		l.Price = core.Money(rapid.Int64Range(30_000, int64(core.MaxMoney)).Draw(rt, "price"))
		l.Residency = rapid.SampledFrom([][]string{nil, {"EU"}, {"FR", "EEA"}}).Draw(rt, "residency")
		fx := d.offers(l)
		if len(fx.Start) == 0 {
			return
		}
		taken++
		out := Outcome{
			Data: []byte(text.Draw(rt, "data")), Failure: rapid.OneOf(rapid.Just(""), rapid.StringN(0, 500, 5000)).Draw(rt, "failure"),
			Usage: engine.Usage{CPU: time.Duration(number.Draw(rt, "cpu"))},
		}
		if rapid.Bool().Draw(rt, "timed") {
			out.Started, out.Finished = start.Add(time.Second), start
		}
		d.done(l.ID, out)
		d.store()
		e, err := receipt.ParseExecution(of[bus.Report](d, bus.KindReport)[0].Envelope)
		if err != nil || e.Leases[0].Lease != l.ID || e.Leases[0].FinishedMs < e.Leases[0].StartedMs {
			rt.Fatalf("%+v, %v", e, err)
		}
	})
	if taken == 0 {
		t.Error("no lease was taken, which shows nothing")
	}
}

func TestNewStatementsRefusesBadHead(t *testing.T) {
	t.Parallel()
	signer, err := receipt.NewSigner(hubKey().Signer())
	if err != nil {
		t.Fatal(err)
	}
	good := receipt.Execution{Hub: testHub, Node: testNode, Owner: "olga"}
	for i, change := range []func(*receipt.Execution){
		func(e *receipt.Execution) { e.Hub = "" }, func(e *receipt.Execution) { e.Node = "" }, func(e *receipt.Execution) { e.Owner = "" },
	} {
		head := good
		change(&head)
		if _, err := NewStatements(signer, head, "FR"); err == nil {
			t.Errorf("change %d was accepted", i)
		}
	}
	if _, err := NewStatements(nil, good, "FR"); err == nil {
		t.Error("no signer was accepted")
	}
}
