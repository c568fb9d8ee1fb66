package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/engine"
)

// sameBytes holds equal inputs to equal outputs: twice on one instance, on a
// second instance, and on a second engine.
func sameBytes(t *testing.T, c Case) {
	e := open(t, c)
	if e.Name() == "" {
		t.Error("the engine has no name")
	}
	a := load(t, e, c.GoodModel)
	want := good(t, a, c)
	if c.Want != nil && !bytes.Equal(want, c.Want) {
		t.Errorf("output:\n%s\nwant:\n%s", head(want), head(c.Want))
	}
	if !e.Reproducible() {
		return
	}
	same(t, "a second run", good(t, a, c), want)
	same(t, "a second instance", good(t, load(t, e, c.GoodModel), c), want)
	same(t, "a second engine", good(t, load(t, open(t, c), c.GoodModel), c), want)
}

// concurrent runs parts side by side on one instance; they must not see each
// other, nor may one change its input.
func concurrent(t *testing.T, c Case) {
	e := open(t, c)
	in := load(t, e, c.GoodModel)
	inputs := [][]byte{c.GoodInput}
	if c.OtherInput != nil {
		inputs = append(inputs, c.OtherInput)
	}
	var want [][]byte
	for _, data := range inputs {
		out, _, err := in.Run(t.Context(), c.input(data))
		if err != nil {
			t.Fatalf("run: %v", err)
		}
		want = append(want, out.Data)
	}
	if len(want) == 2 && bytes.Equal(want[0], want[1]) {
		t.Fatal("GoodInput and OtherInput give equal outputs; the case shows nothing")
	}
	g, ctx := errgroup.WithContext(t.Context())
	for w := range workers {
		g.Go(func() error {
			for r := range rounds {
				i := (w + r) % len(inputs)
				data := bytes.Clone(inputs[i])
				out, _, err := in.Run(ctx, c.input(data))
				switch {
				case err != nil:
					return fmt.Errorf("worker %d: %w", w, err)
				case !bytes.Equal(data, inputs[i]):
					return fmt.Errorf("worker %d: Run changed its input", w)
				case e.Reproducible() && !bytes.Equal(out.Data, want[i]):
					return fmt.Errorf("worker %d: other bytes than alone:\n%s\nwant:\n%s", w, head(out.Data), head(want[i]))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// outputLimit lets exactly the needed bytes pass and not one less.
func outputLimit(t *testing.T, c Case) {
	in := load(t, open(t, c), c.GoodModel)
	want := good(t, in, c)
	if len(want) < 2 {
		t.Fatalf("GoodInput gives %d bytes; the check needs at least 2", len(want))
	}
	tight := c.input(c.GoodInput)
	tight.Limits.Output = int64(len(want)) - 1
	out, _, err := in.Run(t.Context(), tight)
	refused(t, err, engine.ErrTooLarge)
	if len(out.Data) != 0 {
		t.Errorf("a refused run returned %d bytes", len(out.Data))
	}
	tight.Limits.Output++
	if out, _, err = in.Run(t.Context(), tight); err != nil {
		t.Fatalf("output limit of exactly %d bytes: %v", len(want), err)
	}
	same(t, "the run at its limit", out.Data, want)
}

// garbageModel feeds Load what is no model: it refuses each with ErrModel, and
// the engine goes on to load a good one.
func garbageModel(t *testing.T, c Case) {
	e := open(t, c)
	n := len(c.GoodModel)
	bad := map[string][]byte{"empty": {}, "text": []byte("not a model\n")}
	for _, size := range []int{1, 64, 4096, 1 << 17} {
		bad[fmt.Sprintf("random of %d bytes", size)] = random(size)
	}
	for _, size := range []int{1, 4, 8, n / 4, n / 2, n - n/4, n - 1} {
		if size < n {
			bad[fmt.Sprintf("cut to %d of %d bytes", size, n)] = c.GoodModel[:size]
		}
	}
	maps.Copy(bad, c.BadModels)
	for name, b := range bad {
		in, err := e.Load(t.Context(), modelFile(t, b))
		if err == nil {
			_ = in.Close(t.Context())
			t.Errorf("%s: loaded", name)
			continue
		}
		if !errors.Is(err, engine.ErrModel) {
			t.Errorf("%s: error %q, want one that is %q", name, err, engine.ErrModel)
		}
	}
	gone := modelFile(t, c.GoodModel)
	gone.Path += ".gone"
	if _, err := e.Load(t.Context(), gone); err == nil {
		t.Error("a file that does not exist was loaded")
	}
	good(t, load(t, e, c.GoodModel), c)
}

func digestMismatch(t *testing.T, c Case) {
	e := open(t, c)
	m := modelFile(t, c.GoodModel)
	m.Digest[0] ^= 1
	_, err := e.Load(t.Context(), m)
	refused(t, err, engine.ErrModel)
	good(t, load(t, e, c.GoodModel), c)
}

func badInput(t *testing.T, c Case) {
	want := c.BadInputErr
	if want == nil {
		want = engine.ErrInput
	}
	fails(t, c, c.BadInput, want)
}

func hugeInput(t *testing.T, c Case) { fails(t, c, c.HugeInput, engine.ErrTooLarge) }

// fails runs data, which must be refused, between two good runs that must not
// notice.
func fails(t *testing.T, c Case, data []byte, want error) {
	t.Helper()
	in := load(t, open(t, c), c.GoodModel)
	before := good(t, in, c)
	out, _, err := in.Run(t.Context(), c.input(data))
	refused(t, err, want)
	if len(out.Data) != 0 {
		t.Errorf("a refused run returned %d bytes", len(out.Data))
	}
	after := good(t, in, c)
	same(t, "the run after the refusal", after, before)
}

// doneContext runs under contexts that are over already.
func doneContext(t *testing.T, c Case) {
	in := load(t, open(t, c), c.GoodModel)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := in.Run(ctx, c.input(c.GoodInput))
	refused(t, err, context.Canceled)

	ctx, cancel = context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, _, err = in.Run(ctx, c.input(c.GoodInput))
	refused(t, err, engine.ErrDeadline)
	good(t, in, c)
}

// wallLimit, contextDeadline and cancelled stop a run that would go on for
// long, each in its own way. A limit that passed is ErrDeadline whether the
// part's or the context's; a cancelled context is context.Canceled, because
// then nobody used up anything.
func wallLimit(t *testing.T, c Case) {
	stops(t, c, engine.ErrDeadline, engine.Limits{Wall: shortWall}, func(ctx context.Context) (context.Context, func()) {
		return ctx, func() {}
	})
}

func contextDeadline(t *testing.T, c Case) {
	stops(t, c, engine.ErrDeadline, engine.Limits{}, func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(ctx, shortWall)
		return ctx, cancel
	})
}

func cancelled(t *testing.T, c Case) {
	stops(t, c, context.Canceled, engine.Limits{}, func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(shortWall, cancel)
		return ctx, func() { timer.Stop(); cancel() }
	})
}

func stops(t *testing.T, c Case, want error, limits engine.Limits, until func(context.Context) (context.Context, func())) {
	t.Helper()
	e := open(t, c)
	model, params := c.SlowModel, c.SlowParams
	if model == nil {
		model = c.GoodModel
	}
	if params == nil {
		params = c.Params
	}
	in := load(t, e, model)
	ctx, cancel := until(t.Context())
	defer cancel()
	start := time.Now()
	_, _, err := in.Run(ctx, engine.Input{Data: c.SlowInput, Params: params, Limits: limits})
	took := time.Since(start)
	refused(t, err, want)
	if took > overdue {
		t.Errorf("Run returned after %s, asked to stop after %s", took.Round(time.Millisecond), shortWall)
	}
	if c.SlowModel == nil {
		good(t, in, c)
		return
	}
	good(t, load(t, e, c.GoodModel), c)
}

// closing closes an instance twice and its engine after it; other instances of
// the same model live on until then.
func closing(t *testing.T, c Case) {
	e := open(t, c)
	a, b := load(t, e, c.GoodModel), load(t, e, c.GoodModel)
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Errorf("close instance: %v", err)
		}
	}
	good(t, b, c)
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("close instance: %v", err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	}
}

// progress: what is told on the way is the beginning of what comes out.
func progress(t *testing.T, c Case) {
	e := open(t, c)
	in := load(t, e, c.GoodModel)
	want := good(t, in, c)
	var told []byte
	asked := c.input(c.GoodInput)
	asked.Progress = func(more []byte) { told = append(told, more...) }
	out, _, err := in.Run(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if e.Reproducible() {
		same(t, "a run that tells of its progress", out.Data, want)
	}
	if !bytes.HasPrefix(out.Data, told) {
		t.Errorf("on the way it told\n%s\nand then came\n%s", head(told), head(out.Data))
	}
}
