package privacy

import (
	"atoll/internal/core"
	"atoll/internal/planted"
)

// Cohort is who adds noise to a sum. Clients that are told the sum know their own part
// of its noise: then Corrupt is at least 1.
type Cohort struct {
	Clients int `json:"clients"` // invited
	Least   int `json:"least"`   // whose vectors must be in the sum, or it is never unmasked
	Corrupt int `json:"corrupt"` // who may work with the hub, and so know their own noise
}

// Honest is the fewest honest clients that a sum can have: Least − Corrupt.
func (c Cohort) Honest() (int, error) {
	if c.Clients < 1 || c.Least < 1 || c.Least > c.Clients {
		return 0, core.Errorf(core.Invalid, "a sum needs 1 to %d of %d clients, not %d", c.Clients, c.Clients, c.Least).At("least")
	}
	if c.Corrupt < 0 || c.Corrupt >= c.Least {
		return 0, core.Errorf(core.Invalid, "with %d corrupt of %d survivors nobody honest need be left to add noise", c.Corrupt, c.Least).
			At("corrupt").WithHint("ask for more survivors")
	}
	if planted.Thin {
		return c.Clients, nil
	}
	return c.Least - c.Corrupt, nil
}

// Share is the variance of one client's noise if the sum is to have at least the
// given one from honest clients alone.
func (c Cohort) Share(variance float64) (float64, error) {
	honest, err := c.Honest()
	return variance / float64(max(honest, 1)), err
}
