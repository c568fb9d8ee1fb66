package fed

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/codec"
)

// Without masks a run ends with the very bits of the undisturbed one, whatever crashes: what
// an update has lacked is added to the next one, once.
func TestCompressedPlainRun(t *testing.T) {
	t.Parallel()
	for _, more := range []string{
		`,"secure":{"off":true},"compress":{"keep":0.3}`, `,"secure":{"off":true},"compress":{"keep":1}`,
		`,"secure":{"off":true},"compress":{"keep":0.3},"async":{"buffer":4,"staleness":2}`,
	} {
		calm := newWorld(t, spec(t, more), 4, 1)
		calm.play(faults{})
		whole := newWorld(t, spec(t, `,"secure":{"off":true}`), 4, 1)
		whole.play(faults{})
		a, b := calm.machine.State(), whole.machine.State()
		if a.Rounds[0].Sent >= b.Rounds[0].Sent || distance(a.Params, b.Params) > 1 || slices.Equal(a.Params, b.Params) {
			t.Errorf("%s: %d bytes, and %d without; %v and %v", more, a.Rounds[0].Sent, b.Rounds[0].Sent, a.Params, b.Params)
		}
		rapid.Check(t, func(rt *rapid.T) {
			w := newWorld(t, spec(t, more), 4, 1)
			w.play(faults{
				lost: rapid.Float64Range(0, 0.3).Draw(rt, "lost"), doubled: rapid.Float64Range(0, 0.3).Draw(rt, "doubled"),
				siteCrash: rapid.Float64Range(0, 0.3).Draw(rt, "site crash"), hubCrash: rapid.Float64Range(0, 0.2).Draw(rt, "hub crash"),
			})
			if s := w.machine.State(); !slices.Equal(s.Params, a.Params) {
				rt.Errorf("%v, undisturbed %v; %s", s.Params, a.Params, s.Stopped)
			}
		})
	}
}

// Errors are fed back: though one value of three is sent a round, in the end the sites have
// sent all that they had to say but for what they still keep.
func TestRestIsSentLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, spec(t, `,"secure":{"off":true},"compress":{"keep":0.3}`), 4, 1)
	total := make([]float64, w.plan.Model.Size())
	site := w.sites[0]
	for round := 1; round <= 3; round++ {
		o := &Order{At: At{Run: w.machine.State().Run, Round: round, Attempt: 1, Step: StepPlain}, Params: packFloats(w.machine.State().Params)}
		r := site.Handle(t.Context(), o)
		again := w.site(0).Handle(t.Context(), o) // after a crash
		if r.Refused != "" || !bytes.Equal(r.Vector, again.Vector) {
			t.Fatalf("%s, and the second vector is another", r.Refused)
		}
		sent, _, err := w.plan.readSent(r.Vector)
		if err != nil {
			t.Fatal(err)
		}
		update, _, err := site.train(t.Context(), w.machine.State().Params, round)
		if err != nil {
			t.Fatal(err)
		}
		for i := range total {
			total[i] += float64(update[i]) - float64(sent[i])
		}
	}
	kept, err := site.rest()
	if err != nil || kept.round != 3 {
		t.Fatalf("%+v, %v", kept, err)
	}
	for i, v := range kept.lacks {
		if d := total[i] - float64(v); d > 1e-5 || d < -1e-5 {
			t.Errorf("value %d: %g was not sent, and %g is kept", i, total[i], v)
		}
	}
	o := &Order{At: At{Run: w.machine.State().Run, Round: 2, Attempt: 1, Step: StepPlain}, Params: packFloats(w.machine.State().Params)}
	if r := site.Handle(t.Context(), o); !strings.Contains(r.Refused, "round 2 is over") {
		t.Errorf("an order of an old round: %q", r.Refused)
	}
}

// Under masks the values that are sent are drawn anew each round, the same at all sites; a
// sum of them is no longer than honest ones can be, and right on average.
func TestCompressedUnderMasks(t *testing.T) {
	t.Parallel()
	once := func(more string) *Spec {
		s := spec(t, more)
		s.Rounds = 1
		return s
	}
	whole := newWorld(t, once(""), 6, 1)
	whole.play(faults{})
	mean := make([]float64, len(whole.machine.State().Params))
	const runs = 40
	for range runs {
		w := newWorld(t, once(`,"compress":{"keep":0.5}`), 6, 1)
		w.play(faults{lost: 0.1, siteCrash: 0.1, hubCrash: 0.05})
		s := w.machine.State()
		if s.Stopped != "" || len(s.Rounds[0].Sites) != 6 || s.Rounds[0].Counts.Held != 60 {
			t.Fatalf("%+v", s)
		}
		if s.Rounds[0].Sent >= whole.machine.State().Rounds[0].Sent {
			t.Errorf("%d bytes, all values take %d", s.Rounds[0].Sent, whole.machine.State().Rounds[0].Sent)
		}
		for i, v := range s.Params {
			mean[i] += float64(v) / runs
		}
	}
	for i, v := range whole.machine.State().Params {
		if d := mean[i] - float64(v); d > 0.2 || d < -0.2 {
			t.Errorf("value %d is %g on average, and %g if all are sent", i, mean[i], v)
		}
	}
}

// An update that is none has its site out, with the reason, and the others go on.
func TestPlainUpdateRefused(t *testing.T) {
	t.Parallel()
	nan := packFloats([]float32{1, float32(math.NaN()), 2})
	for _, more := range []string{`,"secure":{"off":true}`, `,"secure":{"off":true},"compress":{"keep":0.5}`} {
		for name, vector := range map[string][]byte{"none": {}, "short": make([]byte, 20), "nan": new(Counts).appendBytes(nan), "long": make([]byte, 1000)} {
			w := newWorld(t, spec(t, more), 4, 1)
			w.poison = func(s *Site, o *Order) *Reply {
				if s.self != 1 {
					return nil
				}
				return &Reply{At: o.At, Site: 1, Vector: vector}
			}
			w.play(faults{})
			s := w.machine.State()
			if s.Stopped != "" || !slices.Equal(s.Rounds[0].Sites, []int{0, 2, 3}) || len(s.Rounds[0].Out) != 1 || !strings.Contains(s.Rounds[0].Out[0].Why, "its update is refused: ") {
				t.Errorf("%s, %s: %+v", more, name, s)
			}
		}
	}
}

func TestCompressRefused(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]string{
		`,"compress":{"keep":0}`: "over 0 and up to 1", `,"compress":{"keep":1.5}`: "over 0 and up to 1",
		`,"compress":{"keep":0.5},"robust":{"rule":"median","group":3}`: "a robust rule compares",
	} {
		if _, err := Parse([]byte(strings.Replace(specText, "%s", more, 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	if most := codec.MaxMessage(100, 100); most >= 400 {
		t.Errorf("100 values in a byte each take up to %d bytes", most)
	}
}
