package privacy

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

func budget(t testing.TB, l Limit) Budget {
	t.Helper()
	b, err := NewBudget("patients", l)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func charge(t testing.TB, id string, noise float64) Charge {
	t.Helper()
	c, err := Gaussian(noise, 1)
	if err != nil {
		t.Fatal(err)
	}
	return Charge{ID: id, Federation: "f", Round: 1, Unit: Record, Cost: c.Cost()}
}

var limit = Limit{Unit: Record, Epsilon: 4, Delta: 1e-5}

// Federations of any kinds, in any order, repeated, given back, stored and read again:
// the total is that of what was reserved and not given back, each once, ε never passes
// the limit, and a refusal changes nothing.
func TestBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, err := NewBudget("patients", limit)
		if err != nil {
			t.Fatal(err)
		}
		stored := map[string]Charge{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "id"))
			known, found := stored[id]
			after, c, err := step(t, b, id, known, found)
			if err != nil {
				if after != b {
					t.Fatalf("refused (%v), but changed", err)
				}
				continue
			}
			if found && known.Phase == Spent && c.Phase != Spent {
				t.Fatalf("%s was spent and is %s", id, c.Phase)
			}
			b, stored[id] = readAgain(t, after), c
			var total Cost
			for _, c := range stored {
				if c.Phase != Released {
					total = total.plus(c.Cost)
				}
			}
			if total != b.Spent.plus(b.Reserved) {
				t.Fatal("the total is not the sum of the charges")
			}
			if b.Epsilon() > limit.Epsilon {
				t.Fatalf("ε = %g of %g", b.Epsilon(), limit.Epsilon)
			}
		}
	})
}

func step(t *rapid.T, b Budget, id string, known Charge, found bool) (Budget, Charge, error) {
	switch do := rapid.SampledFrom([]string{"reserve", "spend", "release"}).Draw(t, "do"); {
	case do == "spend" && found:
		return b.Spend(known)
	case do == "release" && found:
		return b.Release(known)
	}
	noise := 3 + float64(len(id)*7%5)
	curve, err := Gaussian(noise, rapid.SampledFrom([]float64{0.01, 1}).Draw(t, "rate"))
	if err != nil {
		t.Fatal(err)
	}
	c := Charge{ID: id, Federation: "f" + id, Unit: Record, Cost: curve.Cost()}
	if !found {
		return b.Reserve(nil, c)
	}
	after, same, err := b.Reserve(&known, c)
	if after != b || err == nil && same != known {
		t.Fatal("reserving again changed something")
	}
	return after, same, err
}

func readAgain(t *rapid.T, b Budget) (again Budget) {
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if err := again.Check(); err != nil || again != b {
		t.Fatalf("read back as %v: %v", again, err)
	}
	return again
}

// Two federations that would each fit do not fit together, and both orders are kept:
// two costs of ε = 3 come to less than 6, more than 3.
func TestAcrossFederations(t *testing.T) {
	t.Parallel()
	b := budget(t, Limit{Unit: Record, Epsilon: 3, Delta: 1e-5})
	noise, err := Target{Epsilon: 2.9, Delta: 0.5e-5, Rounds: 1}.Noise()
	if err != nil {
		t.Fatal(err)
	}
	b, _, err = b.Reserve(nil, charge(t, "one", noise))
	if err != nil {
		t.Fatal(err)
	}
	second := charge(t, "two", noise)
	second.Federation = "another"
	if _, _, err := b.Reserve(nil, second); core.KindOf(err) != core.Insufficient || !strings.Contains(err.Error(), "another") {
		t.Errorf("overspent by another federation: %v", err)
	}
	wide := budget(t, Limit{Unit: Record, Epsilon: 5, Delta: 1e-5})
	for _, c := range []Charge{charge(t, "one", noise), second} {
		if wide, _, err = wide.Reserve(nil, c); err != nil {
			t.Fatal(err)
		}
	}
	if e := wide.Epsilon(); e < 3.5 || e > 4.6 {
		t.Errorf("two of ε = 2.9 come to %g", e)
	}
}

// The ledger's caution (δ shared out over orders) costs a few percent of ε.
func TestCautionIsCheap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		noise, rate float64
		rounds      int
		order       float64
	}{{5, 1, 20, 0}, {50, 1, 100, 0}, {1.1, 0.004, 15000, 0}, {0.8, 0.01, 2000, 4}} {
		curve, err := Gaussian(c.noise, c.rate)
		if err != nil {
			t.Fatal(err)
		}
		alone, _ := curve.Times(c.rounds).Epsilon(1e-5)
		kept := Limit{Unit: Record, Epsilon: alone * 1.05, Delta: 1e-5, Order: c.order}.epsilon(curve.Times(c.rounds).Cost())
		t.Logf("%+v: ε %.4f alone, %.4f in a budget (%+.1f %%)", c, alone, kept, 100*(kept/alone-1))
		if kept < alone || kept > alone*1.05 {
			t.Errorf("%+v: ε %g alone, %g in a budget", c, alone, kept)
		}
	}
}

func TestBudgetRefusals(t *testing.T) {
	t.Parallel()
	b, good := budget(t, limit), charge(t, "a", 10)
	for name, c := range map[string]struct {
		change func(*Charge)
		kind   core.Kind
	}{
		"no ID":         {func(c *Charge) { c.ID = "" }, core.Invalid},
		"no federation": {func(c *Charge) { c.Federation = "" }, core.Invalid},
		"weaker unit":   {func(c *Charge) { c.Unit = Site }, core.Forbidden},
		"for nothing":   {func(c *Charge) { c.Cost = Cost{} }, core.Invalid},
		"negative":      {func(c *Charge) { c.Cost[3] = -1 }, core.Invalid},
		"no noise":      {func(c *Charge) { c.Cost = Curve{0: math.Inf(1)}.Cost().plus(Curve{}.Plus(infinite()).Cost()) }, core.Insufficient},
		"not a number":  {func(c *Charge) { c.Cost = infinite().Times(0).Cost() }, core.Insufficient},
	} {
		bad := good
		c.change(&bad)
		if after, _, err := b.Reserve(nil, bad); core.KindOf(err) != c.kind || after != b {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, held, err := b.Reserve(nil, good)
	if err != nil {
		t.Fatal(err)
	}
	other := good
	other.Round = 2
	if _, _, err := b.Reserve(&held, other); core.KindOf(err) != core.Mismatch {
		t.Errorf("one ID for two rounds: %v", err)
	}
	back, gone, _ := b.Release(held)
	if _, _, err := back.Spend(gone); core.KindOf(err) != core.Conflict {
		t.Errorf("spent after it was given back: %v", err)
	}
	if _, _, err := back.Reserve(&gone, good); core.KindOf(err) != core.Conflict {
		t.Errorf("reserved again after it was given back: %v", err)
	}
	spent, used, _ := b.Spend(held)
	if _, _, err := spent.Release(used); core.KindOf(err) != core.Conflict {
		t.Errorf("given back after it was spent: %v", err)
	}
}

func infinite() (c Curve) {
	for i := range c {
		c[i] = math.Inf(1)
	}
	return c
}

func TestDamagedBudgets(t *testing.T) {
	t.Parallel()
	good := budget(t, limit)
	for name, change := range map[string]func(*Budget){
		"form":     func(b *Budget) { b.Form = 2 },
		"unit":     func(b *Budget) { b.Limit.Unit = "person" },
		"epsilon":  func(b *Budget) { b.Limit.Epsilon = 0 },
		"delta":    func(b *Budget) { b.Limit.Delta = 1 },
		"order":    func(b *Budget) { b.Limit.Order = 4.1 },
		"negative": func(b *Budget) { b.Spent[5] = -1 },
	} {
		b := good
		change(&b)
		if err := b.Check(); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keeping a cost never makes it smaller, whatever the sum.
func TestCostsAreRoundedUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, err := Gaussian(math.Exp(rapid.Float64Range(-3, 9).Draw(t, "ln noise")), 1)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range c.Cost() {
			if off := float64(n) - c[i]*nanonats; off < 0 || off > 1 {
				t.Errorf("order %g: %g is kept as %d", Orders[i], c[i], n)
			}
		}
	})
}

// The parts of δ add up to it, wherever the larger half is.
func TestSharesOfDelta(t *testing.T) {
	t.Parallel()
	for _, l := range []Limit{limit, {Epsilon: 0.1, Delta: 1e-9}, {Epsilon: 8, Delta: 1e-3, Order: 2}} {
		sum := 0.0
		for i, d := range l.shares() {
			sum += d
			if (d == l.Delta/2) != (i == l.favourite()) {
				t.Errorf("%+v: order %g has %g", l, Orders[i], d)
			}
		}
		if math.Abs(sum/l.Delta-1) > 1e-12 {
			t.Errorf("%+v: the parts add up to %g", l, sum)
		}
		if l.Order != 0 && Orders[l.favourite()] != l.Order {
			t.Errorf("%+v: the favourite is %g", l, Orders[l.favourite()])
		}
	}
}

// Infinite loss fits into no budget, however large.
func TestNoNoiseFitsNoBudget(t *testing.T) {
	t.Parallel()
	b := budget(t, Limit{Unit: Record, Epsilon: 1e300, Delta: 1e-5})
	c := charge(t, "a", 1)
	c.Cost = infinite().Cost()
	if _, _, err := b.Reserve(nil, c); core.KindOf(err) != core.Insufficient {
		t.Error(err)
	}
}

// A stored cost that is cut or too long is refused, and not taken for a smaller one.
func TestDamagedCosts(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(charge(t, "a", 10))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"cut": {`"cost":[6250000,`, `"cost":[`}, "longer": {`"cost":[`, `"cost":[0,`}, "negative": {`"cost":[`, `"cost":[-`},
	} {
		bad := strings.Replace(string(data), change[0], change[1], 1)
		if bad == string(data) {
			t.Fatalf("%s: nothing to change in %s", name, data)
		}
		var c Charge
		if err := json.Unmarshal([]byte(bad), &c); core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Room says how many rounds can be reserved: all of them, and not one more.
func TestRoom(t *testing.T) {
	t.Parallel()
	b, c := budget(t, limit), charge(t, "", 20)
	n := b.Room(c.Cost, 10_000)
	for i := range n {
		c.ID = fmt.Sprint(i)
		var err error
		if b, _, err = b.Reserve(nil, c); err != nil {
			t.Fatalf("%d of %d: %v", i, n, err)
		}
	}
	c.ID = "more"
	if _, _, err := b.Reserve(nil, c); core.KindOf(err) != core.Insufficient || b.Room(c.Cost, 10) != 0 {
		t.Errorf("after %d rounds there is room for one more: %v", n, err)
	}
	if got := budget(t, limit).Room(c.Cost, 3); got != 3 {
		t.Errorf("asked for at most 3, got %d", got)
	}
}
