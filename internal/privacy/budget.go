package privacy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"atoll/internal/core"
	"atoll/internal/planted"
)

// Unit is whose presence in the data the privacy hides.
type Unit string

// Units. A record is a row; a customer is all rows of a person, however many, so
// clipping is per person; a site is all that its owner has. A guarantee for one is none
// for another: taking a record away from a site changes the site's update, which is
// more than replacing it by zeros.
const (
	Record   Unit = "record"
	Customer Unit = "customer"
	Site     Unit = "site"
)

// Limit is what a dataset's owner allows to be learnt from it, ever. Who raises it makes
// a new promise, by which all that was spent counts.
type Limit struct {
	Unit    Unit    `json:"unit"`
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
	// Order is the Rényi order that half of δ is for; see the package comment. 0 is the
	// one that suits Gaussian noise on all of the data. DP-SGD with little noise suits a
	// lower one. It is chosen with the limit, before anything is spent.
	Order float64 `json:"order,omitempty"`
}

// Cost is a Curve for keeping: nanonats, rounded up, so that sums are exact in any
// order and never too small.
type Cost [len(Orders)]int64

const nanonats = 1e9

// unlimited stands for any cost that no budget can bear.
const unlimited = math.MaxInt64

// Cost rounds the curve up.
func (c Curve) Cost() (k Cost) {
	for i, loss := range c {
		if n := math.Ceil(loss * nanonats); n < 1<<62 { // false for NaN, too
			k[i] = int64(n)
		} else {
			k[i] = unlimited
		}
	}
	return k
}

// UnmarshalJSON refuses lists of another length, which would be cut or filled with
// zeros, and negative amounts.
func (c *Cost) UnmarshalJSON(data []byte) error {
	var list []int64
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != len(c) {
		return core.Errorf(core.Invalid, "a privacy cost has %d amounts, not %d", len(c), len(list))
	}
	copy(c[:], list)
	return c.check()
}

func (c Cost) check() error {
	for i, n := range c {
		if n < 0 {
			return core.Errorf(core.Invalid, "a privacy cost is negative at order %g", Orders[i])
		}
	}
	return nil
}

func (c Cost) plus(d Cost) Cost {
	for i := range c {
		if c[i] > unlimited-d[i] {
			c[i] = unlimited
		} else {
			c[i] += d[i]
		}
	}
	return c
}

func (c Cost) minus(d Cost) Cost {
	for i := range c {
		c[i] -= d[i]
	}
	return c
}

// form is that of Cost: it changes with Orders.
const form = 1

// Budget is the account of one dataset. Its owner's node stores it, together with the
// Charges; a Budget and the Charge that changed it belong into one transaction.
type Budget struct {
	Form     int    `json:"form"`
	Dataset  string `json:"dataset"`
	Limit    Limit  `json:"limit"`
	Reserved Cost   `json:"reserved"`
	Spent    Cost   `json:"spent"`
}

// NewBudget opens an account.
func NewBudget(dataset string, l Limit) (Budget, error) {
	b := Budget{Form: form, Dataset: dataset, Limit: l}
	return b, b.Check()
}

// Check refuses a budget, such as one read from a disk, that this program cannot keep.
func (b Budget) Check() error {
	if b.Form != form {
		return core.Errorf(core.Invalid, "the privacy budget of %s is kept in form %d; this program knows form %d", b.Dataset, b.Form, form).
			WithHint("use the version that wrote it, or a newer one")
	}
	switch b.Limit.Unit {
	case Record, Customer, Site:
	default:
		return core.Errorf(core.Invalid, "%q is no unit of privacy: it is record, customer or site", b.Limit.Unit).At("unit")
	}
	if err := checkEpsilon(b.Limit.Epsilon); err != nil {
		return err
	}
	if err := checkDelta(b.Limit.Delta); err != nil {
		return err
	}
	if b.Limit.Order != 0 && !slices.Contains(Orders[:], b.Limit.Order) {
		return core.Errorf(core.Invalid, "order %g is not kept", b.Limit.Order).At("order").WithHint(fmt.Sprintf("kept are %v", Orders))
	}
	if err := b.Reserved.check(); err != nil {
		return err
	}
	return b.Spent.check()
}

// Phase of a charge.
type Phase string

// Phases: reserved before anything is computed; spent, for good, before the first
// byte that depends on the data leaves; or released, if none ever will.
const (
	Reserved Phase = "reserved"
	Spent    Phase = "spent"
	Released Phase = "released"
)

// Charge is what one release costs: for a federation, one attempt at one round. The
// ID is its caller's and says it once; a second attempt is another charge.
type Charge struct {
	ID         string `json:"id"`
	Federation string `json:"federation"`
	Round      int    `json:"round"`
	Unit       Unit   `json:"unit"`
	Cost       Cost   `json:"cost"`
	Phase      Phase  `json:"phase"`
}

// Reserve sets a charge's cost aside. known is the charge stored under that ID, nil if
// there is none. To reserve the same again changes nothing, and returns the charge as
// it stands. Refused are, with core.Insufficient, what the budget does not allow, and
// what is not like the stored charge.
func (b Budget) Reserve(known *Charge, c Charge) (Budget, Charge, error) {
	c.Phase = Reserved
	if known != nil {
		return b, *known, sameCharge(*known, c)
	}
	switch {
	case c.ID == "" || c.Federation == "":
		return b, c, core.Errorf(core.Invalid, "a charge to a privacy budget names itself and its federation")
	case c.Unit != b.Limit.Unit:
		return b, c, core.Errorf(core.Forbidden, "federation %s hides a %s; the owner of %s asks that a %s be hidden", c.Federation, c.Unit, b.Dataset, b.Limit.Unit).At("unit")
	case c.Cost == Cost{}:
		return b, c, core.Errorf(core.Invalid, "federation %s, round %d says that it costs no privacy", c.Federation, c.Round)
	}
	if err := c.Cost.check(); err != nil {
		return b, c, err
	}
	after := b
	after.Reserved = b.Reserved.plus(c.Cost)
	if after.Epsilon() > b.Limit.Epsilon && !planted.Overspend {
		return b, c, core.Errorf(core.Insufficient, "federation %s, round %d would take dataset %s to ε = %.4g; its owner allows %g at δ = %g, and %.4g is used",
			c.Federation, c.Round, b.Dataset, after.Epsilon(), b.Limit.Epsilon, b.Limit.Delta, b.Epsilon()).
			WithHint("use more noise or fewer rounds, or ask the owner")
	}
	return after, c, nil
}

func sameCharge(known, c Charge) error {
	phase := known.Phase
	known.Phase = c.Phase
	switch {
	case known != c:
		return core.Errorf(core.Mismatch, "charge %s was made for something else: federation %s, round %d", known.ID, known.Federation, known.Round)
	case phase == Released:
		return core.Errorf(core.Conflict, "charge %s was given back", known.ID).WithHint("a new attempt is a new charge")
	}
	return nil
}

// Spend makes a reserved charge final. It comes before the first byte leaves, and is
// durable before: what happens to that byte then makes no difference. Spending twice
// is spending once.
func (b Budget) Spend(c Charge) (Budget, Charge, error) {
	switch c.Phase {
	case Spent:
		return b, c, nil
	case Reserved:
		b.Reserved, b.Spent = b.Reserved.minus(c.Cost), b.Spent.plus(c.Cost)
		c.Phase = Spent
		return b, c, nil
	}
	return b, c, core.Errorf(core.Conflict, "charge %s was given back: nothing may leave for it", c.ID).WithHint("a new attempt is a new charge")
}

// Release gives a reserved charge back. Nothing that was spent ever is.
func (b Budget) Release(c Charge) (Budget, Charge, error) {
	switch c.Phase {
	case Released:
		return b, c, nil
	case Reserved:
		b.Reserved = b.Reserved.minus(c.Cost)
		c.Phase = Released
		return b, c, nil
	}
	return b, c, core.Errorf(core.Conflict, "charge %s is spent: what has left the node cannot be taken back", c.ID)
}

// Epsilon is what the owner has agreed to so far, reserved charges included, at the
// Limit's δ: see the package comment for how δ is shared out.
func (b Budget) Epsilon() float64 { return b.Limit.epsilon(b.Spent.plus(b.Reserved)) }

// Room is how many more charges of a cost the budget has room for, at most most.
func (b Budget) Room(c Cost, most int) int {
	n, used := 0, b.Spent.plus(b.Reserved)
	for n < most {
		if used = used.plus(c); b.Limit.epsilon(used) > b.Limit.Epsilon {
			break
		}
		n++
	}
	return n
}

// epsilon converts a total, each order with its part of δ.
func (l Limit) epsilon(total Cost) float64 {
	if total == (Cost{}) {
		return 0
	}
	least := math.Inf(1)
	for i, delta := range l.shares() {
		if total[i] < unlimited {
			least = min(least, epsilonAt(Orders[i], float64(total[i])/nanonats, delta))
		}
	}
	return least
}

// shares are the parts of δ: half for the favourite order, the other half shared
// equally by all others.
func (l Limit) shares() (list [len(Orders)]float64) {
	for i := range list {
		list[i] = l.Delta / 2 / float64(len(Orders)-1)
	}
	list[l.favourite()] = l.Delta / 2
	return list
}

// favourite is the index of Order, or of the order at which most Gaussian noise of one
// size fits into the limit.
func (l Limit) favourite() (best int) {
	if i := slices.Index(Orders[:], l.Order); i >= 0 {
		return i
	}
	most := math.Inf(-1)
	for i, a := range Orders {
		if n := lossAt(a, l.Epsilon, l.Delta/2) / a; n > most {
			best, most = i, n
		}
	}
	return best
}
