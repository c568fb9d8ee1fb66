package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// box is an outbox in memory.
type box struct {
	mu   sync.Mutex
	rows map[string]*row
	fail error // of every write
}

type row struct {
	Delivery
	at  time.Time
	end string // done, or why dead
}

func newBox(ds ...Delivery) *box {
	b := &box{rows: map[string]*row{}}
	for _, d := range ds {
		b.rows[d.ID] = &row{Delivery: d}
	}
	return b
}

func (b *box) Due(_ context.Context, now time.Time, limit int) ([]Delivery, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []*row
	for _, r := range b.rows {
		if r.end == "" && !r.at.After(now) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(x, y *row) int { return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.ID, y.ID)) })
	turns, turn := map[string]int{}, map[string]int{}
	for _, r := range due {
		turns[r.Account]++
		turn[r.ID] = turns[r.Account]
	}
	slices.SortStableFunc(due, func(x, y *row) int { return cmp.Compare(turn[x.ID], turn[y.ID]) })
	var out []Delivery
	for _, r := range due[:min(limit, len(due))] {
		out = append(out, r.Delivery)
	}
	return out, nil
}

func (b *box) write(ctx context.Context, id string, f func(*row)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := errors.Join(b.fail, ctx.Err()); err != nil {
		return err
	}
	if r := b.rows[id]; r != nil {
		f(r)
	}
	return nil
}

func (b *box) Done(ctx context.Context, id string) error {
	return b.write(ctx, id, func(r *row) { r.end = "done" })
}

func (b *box) Retry(ctx context.Context, id string, at time.Time, _ error) error {
	return b.write(ctx, id, func(r *row) { r.at, r.Attempt = at, r.Attempt+1 })
}

func (b *box) Dead(ctx context.Context, id string, reason string) error {
	return b.write(ctx, id, func(r *row) { r.end = reason })
}

func (b *box) get(id string) row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.rows[id]
}

func (b *box) put(d Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows[d.ID] = &row{Delivery: d}
}

type sendFunc = func(context.Context, Delivery, time.Time) Result

// run starts a dispatcher inside a synctest bubble. It stops with the test at
// the latest.
func run(t *testing.T, b Outbox, send sendFunc, c DispatcherConfig) (d *Dispatcher, stop func()) {
	t.Helper()
	c.Outbox, c.Send, c.Log = b, send, discard
	d, err := NewDispatcher(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	return d, func() { cancel(); <-ended }
}

var failed = Result{Retry, 500, errors.New("answered 500")}

func TestRetriesUntilReceived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "a", URL: "https://h.example/"})
		var times []time.Time
		_, stop := run(t, b, func(_ context.Context, d Delivery, now time.Time) Result {
			if d.ID != "a" || d.Attempt != len(times) {
				t.Errorf("attempt %d is of %q, and says %d", len(times), d.ID, d.Attempt)
			}
			if times = append(times, now); len(times) <= 4 {
				return failed
			}
			return Result{Done, 200, nil}
		}, DispatcherConfig{})
		time.Sleep(time.Hour)
		stop()
		if len(times) != 5 || b.get("a").end != "done" {
			t.Fatalf("%d attempts, %+v", len(times), b.get("a"))
		}
		for n := 1; n < 5; n++ {
			delay, _ := Next(n, seed("a"))
			if got := times[n].Sub(times[n-1]); got < delay || got > delay+defaultPoll {
				t.Errorf("retry %d after %s, want %s", n, got, delay)
			}
		}
	})
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "down", URL: "https://h.example/"}, Delivery{ID: "gone", URL: "https://h.example/"})
		sent := map[string]int{}
		var mu sync.Mutex
		_, stop := run(t, b, func(_ context.Context, d Delivery, _ time.Time) Result {
			mu.Lock()
			defer mu.Unlock()
			if sent[d.ID]++; d.ID == "gone" {
				return Result{Dead, 410, errors.New("answered 410 Gone")}
			}
			return failed
		}, DispatcherConfig{Poll: time.Minute})
		time.Sleep(72 * time.Hour)
		stop()
		if sent["down"] != maxAttempts || !strings.Contains(b.get("down").end, "given up after 12 attempts") || sent["gone"] != 1 || b.get("gone").end != "answered 410 Gone" {
			t.Errorf("%v, %+v, %+v", sent, b.get("down"), b.get("gone"))
		}
	})
}

// TestCrashBetweenSendAndDone loses the record of a success: the next process
// sends it again, under the same ID.
func TestCrashBetweenSendAndDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "a", URL: "https://h.example/"})
		b.fail = errors.New("power cut")
		var ids []string
		send := func(_ context.Context, d Delivery, _ time.Time) Result {
			ids = append(ids, d.ID)
			return Result{Done, 200, nil}
		}
		_, crash := run(t, b, send, DispatcherConfig{Poll: time.Minute})
		synctest.Wait()
		crash()
		b.fail = nil
		_, stop := run(t, b, send, DispatcherConfig{})
		synctest.Wait()
		stop()
		if !slices.Equal(ids, []string{"a", "a"}) || b.get("a").end != "done" {
			t.Errorf("sent %v, %+v", ids, b.get("a"))
		}
	})
}

// TestBrokenOutboxDoesNotFlood: when outcomes cannot be stored, the receiver
// gets a repeat per poll and not one per microsecond.
func TestBrokenOutboxDoesNotFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "a", URL: "https://h.example/"})
		b.fail = errors.New("read-only")
		n := 0
		_, stop := run(t, b, func(context.Context, Delivery, time.Time) Result { n++; return Result{Done, 200, nil} }, DispatcherConfig{})
		time.Sleep(10500 * time.Millisecond)
		stop()
		if n < 2 || n > 12 {
			t.Errorf("sent %d times in 10 s", n)
		}
	})
}

// TestSlowHostDoesNotHoldTheOthers puts thousands of deliveries to a host that
// hangs in front of one to a host that answers.
func TestSlowHostDoesNotHoldTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "z", URL: "https://quick.example/"})
		for i := range 3000 {
			b.put(Delivery{ID: fmt.Sprintf("a%04d", i), URL: "https://slow.example/" + fmt.Sprint(i)})
		}
		var mu sync.Mutex
		now, peak := map[string]int{}, map[string]int{}
		_, stop := run(t, b, func(ctx context.Context, d Delivery, _ time.Time) Result {
			host := hostOf(d.URL)
			mu.Lock()
			now[host]++
			peak[host] = max(peak[host], now[host])
			mu.Unlock()
			defer func() { mu.Lock(); now[host]--; mu.Unlock() }()
			if host == "quick.example" {
				return Result{Done, 200, nil}
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
			return failed
		}, DispatcherConfig{})
		time.Sleep(2500 * time.Millisecond)
		if b.get("z").end != "done" {
			t.Error("the quick host waits for the slow one")
		}
		time.Sleep(time.Minute)
		stop()
		if peak["slow.example"] != defaultPerHost || now["slow.example"] != 0 {
			t.Errorf("at once: %v, still: %v", peak, now)
		}
	})
}

// TestDeadHostsOfOneAccountDoNotHoldTheOthers: an account may name a thousand
// hosts that hang, and a dozen accounts may.
func TestDeadHostsOfOneAccountDoNotHoldTheOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad  int           // accounts
		wait time.Duration // of another one, for its callback
	}{
		"one account":       {1, 0},
		"more than the cap": {12, 10 * time.Second}, // what is first given up makes room
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBox()
				for i := range 1000 {
					b.put(Delivery{ID: fmt.Sprintf("a%04d", i), Account: fmt.Sprint("bad", i%c.bad), URL: fmt.Sprintf("https://dead%d.example/", i)})
				}
				var mu sync.Mutex
				now, peak := map[string]int{}, 0
				d, stop := run(t, b, func(ctx context.Context, d Delivery, _ time.Time) Result {
					if d.Account == "good" {
						return Result{Done, 200, nil}
					}
					mu.Lock()
					now[d.Account]++
					peak = max(peak, now[d.Account])
					mu.Unlock()
					defer func() { mu.Lock(); now[d.Account]--; mu.Unlock() }()
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Second):
					}
					return failed
				}, DispatcherConfig{})
				synctest.Wait()
				b.put(Delivery{ID: "z", Account: "good", URL: "https://quick.example/"})
				d.Wake()
				time.Sleep(c.wait + time.Millisecond)
				if b.get("z").end != "done" {
					t.Error("an account waits for the hosts of another")
				}
				stop()
				if share := (defaultConcurrency + c.bad - 1) / c.bad; peak != min(share, defaultPerAccount) {
					t.Errorf("%d attempts at once for one account of %d", peak, c.bad)
				}
			})
		})
	}
}

func TestConcurrencyIsBoundedAndUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		for i := range 200 {
			b.put(Delivery{ID: fmt.Sprint(i), Account: fmt.Sprint(i % 5), URL: fmt.Sprintf("https://h%d.example/", i)})
		}
		var mu sync.Mutex
		now, peak := 0, 0
		start := time.Now()
		_, stop := run(t, b, func(context.Context, Delivery, time.Time) Result {
			mu.Lock()
			now++
			peak = max(peak, now)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			now--
			return Result{Done, 200, nil}
		}, DispatcherConfig{Concurrency: 10})
		for left := 1; left > 0; {
			time.Sleep(50 * time.Millisecond)
			due, _ := b.Due(t.Context(), time.Now(), 1000)
			left = len(due)
		}
		if took := time.Since(start); took > 2200*time.Millisecond || peak != 10 {
			t.Errorf("%s with %d at once, want 2 s with 10", took, peak)
		}
		stop()
	})
}

func TestWake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		d, stop := run(t, b, func(context.Context, Delivery, time.Time) Result { return Result{Done, 200, nil} }, DispatcherConfig{Poll: time.Hour})
		synctest.Wait()
		b.put(Delivery{ID: "a", URL: "https://h.example/"})
		d.Wake()
		d.Wake()
		synctest.Wait()
		if b.get("a").end != "done" {
			t.Error("not woken")
		}
		stop()
	})
}

// TestShutdown waits for attempts, records those that succeeded and leaves those
// that were cut off as they were.
func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(Delivery{ID: "cut", URL: "https://a.example/"}, Delivery{ID: "through", URL: "https://b.example/"})
		_, stop := run(t, b, func(ctx context.Context, d Delivery, _ time.Time) Result {
			<-ctx.Done()
			if d.ID == "through" {
				time.Sleep(time.Second) // the answer was on its way
				return Result{Done, 200, nil}
			}
			return Result{Retry, 0, ctx.Err()}
		}, DispatcherConfig{})
		synctest.Wait()
		stop()
		if cut, through := b.get("cut"), b.get("through"); cut.end != "" || cut.Attempt != 0 || through.end != "done" {
			t.Errorf("%+v, %+v", cut, through)
		}
	})
}

func TestDispatcherConfig(t *testing.T) {
	t.Parallel()
	send := func(context.Context, Delivery, time.Time) Result { return failed }
	for _, c := range []DispatcherConfig{{}, {Outbox: newBox()}, {Send: send}, {Outbox: newBox(), Send: send, Poll: -1}} {
		if _, err := NewDispatcher(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
