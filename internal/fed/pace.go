package fed

import (
	"context"
	"math"
	"strconv"

	fastjson "github.com/go-json-experiment/json"

	"atoll/internal/core"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
)

// A site of an asynchronous run keeps in the journal of round v
//
//	measured  how the parameters with which round v began do on its rows
//	update    what training on them has come to, and how many rows it counts for
//	used      the round in whose buffer that is, or was: of one alone. In two sums over
//	          other sites the hub could tell it from others'.
//
// The newest update that is not used waits for a buffer to come.
const (
	measuredName = "measured"
	updateName   = "update"
	usedName     = "used"
)

// ready measures the parameters of the round, and sees to it that there is an update: one
// that waits, or a new one.
func (s *Site) ready(ctx context.Context, o *Order, r *Reply) error {
	params, before, err := s.c.Plan.readShown(o)
	if err != nil {
		return err
	}
	j, err := s.journal(o.Round)
	if err != nil {
		return err
	}
	if err := s.keepMeasured(ctx, j, params, before); err != nil {
		return err
	}
	if r.Version = o.Round; o.Round > s.c.Plan.Spec.Rounds { // it only measures
		return nil
	}
	version, _, err := s.waiting(o.Round)
	if err == nil && version > 0 {
		r.Version = version
		return nil
	}
	if err != nil {
		return err
	}
	if s.unit() != privacy.Site { // each training is charged once, whatever becomes of it
		if err := s.spend(o.round(), o.Round); err != nil {
			return err
		}
	}
	update, rows, err := s.train(ctx, params, o.Round)
	if err == nil {
		_, err = j.Once(updateName, s.c.Plan.appendPlain(update, Counts{Rows: rows}))
	}
	return err
}

func (s *Site) keepMeasured(ctx context.Context, j secagg.Journal, params, before []float32) error {
	kept, err := j.Kept(measuredName)
	if err != nil || kept != nil {
		return err
	}
	c, err := s.measure(ctx, params, before)
	if err != nil {
		return err
	}
	b, err := fastjson.Marshal(c)
	if err == nil {
		_, err = j.Once(measuredName, b)
	}
	return err
}

// waiting is the update that is for the buffer of a round, and the round on whose
// parameters it was trained; 0: there is none that is new enough.
func (s *Site) waiting(round int) (version int, update []byte, err error) {
	for v := round; v >= s.c.Plan.Oldest(round); v-- {
		j, err := s.journal(v)
		if err != nil {
			return 0, nil, err
		}
		if update, err = j.Kept(updateName); err != nil {
			return 0, nil, err
		}
		if update == nil {
			continue
		}
		used, err := j.Kept(usedName)
		switch {
		case err != nil:
			return 0, nil, err
		case used == nil || string(used) == strconv.Itoa(round):
			return v, update, nil
		case v == round:
			return 0, nil, core.Errorf(core.Conflict, "this site has trained in round %d, and its update was in the buffer of round %s", v, used)
		}
	}
	return 0, nil, nil
}

// contribute returns the update that is for the buffer of a round, by its age, and the
// site's counts.
func (s *Site) contribute(o *Order) (update []float32, c Counts, err error) {
	j, err := s.journal(o.Round)
	if err != nil {
		return nil, c, err
	}
	measured, err := j.Kept(measuredName)
	if err == nil && measured == nil {
		err = core.Errorf(core.Conflict, "this site has not said that it is ready for round %d", o.Round)
	}
	if err == nil {
		err = fastjson.Unmarshal(measured, &c)
	}
	if err != nil {
		return nil, c, err
	}
	if o.Round > s.c.Plan.Spec.Rounds {
		return make([]float32, s.c.Plan.Model.Size()), c, nil
	}
	if s.unit() == privacy.Site { // whose noise is of the attempt
		if err := s.spend(o.id(), o.Round); err != nil {
			return nil, c, err
		}
	}
	version, kept, err := s.use(o.Round)
	if err != nil {
		return nil, c, err
	}
	update, trained, err := s.c.Plan.readPlain(kept)
	if err != nil {
		return nil, c, err
	}
	c.Rows = trained.Rows
	weight := float32(1 / math.Sqrt(float64(1+o.Round-version)))
	for i, v := range update {
		update[i] = float32(weight * v)
	}
	return update, c, nil
}

// use notes, durably, that the update that waits is for this round and no other.
func (s *Site) use(round int) (version int, update []byte, err error) {
	version, update, err = s.waiting(round)
	if err == nil && version == 0 {
		err = core.Errorf(core.Conflict, "this site has no update for round %d", round)
	}
	if err != nil {
		return 0, nil, err
	}
	j, err := s.journal(version)
	if err == nil {
		_, err = j.Once(usedName, strconv.AppendInt(nil, int64(round), 10))
	}
	return version, update, err
}

// journal is that of a round, whatever the attempt.
func (s *Site) journal(round int) (secagg.Journal, error) {
	return s.c.Journal(round, At{Run: s.run, Round: round}.round())
}

// unit is that of the data which privacy is asked for; empty: there is none.
func (s *Site) unit() privacy.Unit {
	if v := s.c.Plan.Spec.Privacy; v != nil {
		return v.Unit
	}
	return ""
}
