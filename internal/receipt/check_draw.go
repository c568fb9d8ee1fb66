package receipt

import (
	"fmt"
	"slices"

	"atoll/internal/core"
	"atoll/internal/draw"
)

// sampled are the methods of verification whose verdicts say how the lot fell.
var sampled = []string{"reexecute", "logprobs"}

// lots casts again the lots that a verdict speaks of. That a secret was fixed
// before the result was known can be told only with the receipt at hand.
func (c *checker) lots() (string, error) {
	if c.opened == nil {
		return "", notMade
	}
	v := c.opened.verdict
	if v == nil {
		return "", skipped("a receipt says nothing of the draw, its verdict does")
	}
	n, fixed := 0, 0
	for i := range v.Leases {
		l := &v.Leases[i]
		if !slices.Contains(sampled, l.Method) || l.Draw == nil && (l.Checks != 0 || l.Outcome == Rejected) {
			continue // no lot is cast on checks, nor on failures
		}
		if l.Draw == nil {
			return "", fmt.Errorf("%w: %s has passed, and the verdict does not say how the lot fell on it", ErrDraw, l.Lease)
		}
		if err := l.castAgain(); err != nil {
			return "", err
		}
		n++
		if commit, ok := c.want.Commits.Leases[l.Lease]; ok && c.want.Commits.Receipt == l.Receipt {
			if commit != draw.Commit(l.Draw.Secret) {
				return "", fmt.Errorf("%w: %s: the secret is not the one that the receipt was given a hash of", ErrDraw, l.Lease)
			}
			fixed++
		}
	}
	if n == 0 {
		return "", skipped("results of this verdict are not drawn")
	}
	detail := fmt.Sprintf("%d lot(s) fall again as the verdict says", n)
	if fixed < n {
		return detail + "; that the secret was fixed beforehand is shown by the receipt, which is not given", nil
	}
	return detail + ", of secrets that the receipts were given the hash of", nil
}

func (l *JudgedLease) castAgain() error {
	d := l.Draw
	if l.Receipt.IsZero() {
		return fmt.Errorf("%w: %s: the verdict does not name the receipt's digest", ErrDraw, l.Lease)
	}
	if drawn := draw.Cast(d.Secret, d.Nonce, l.Receipt).Under(d.Rate); drawn != d.Drawn {
		return fmt.Errorf("%w: %s: the verdict says drawn %t, the lot says %t", ErrDraw, l.Lease, d.Drawn, drawn)
	}
	return nil
}

// Commits are the hashes of secrets that the leases of a receipt were given.
type Commits struct {
	Receipt core.Digest                  `json:"receipt"`
	Leases  map[core.LeaseID]core.Digest `json:"leases"`
}

// Commits returns what a receipt says that the hub was held to. It is zero of a
// verdict, and of a receipt that could not be read.
func (r *Report) Commits() Commits {
	if r.Execution == nil {
		return Commits{}
	}
	out := Commits{r.Receipt, map[core.LeaseID]core.Digest{}}
	for i := range r.Execution.Leases {
		l := &r.Execution.Leases[i]
		out.Leases[l.Lease] = l.Commit
	}
	return out
}
