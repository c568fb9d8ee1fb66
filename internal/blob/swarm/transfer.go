package swarm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/peer"
)

// transfer brings one content, as far as its files ask for it.
type transfer struct {
	s      *Swarm
	digest core.Digest
	users  int // guarded by Swarm.mu
	ctx    context.Context
	stop   context.CancelCauseFunc
	begun  chan struct{} // closed when part and m are set, or it has failed
	part   *blob.Part
	m      *blob.Manifest
	finish func() error // makes ordinary content of it

	mu            sync.Mutex
	chunks        []chunk
	wanted        int                  // chunks that are wanted and not here
	first         []int                // chunks that are urgent, in order; some may be here
	sources       []*source            // that are connected
	met           map[core.Digest]bool // peers by key, also those that are connected no more
	greeting      int                  // of them, those that are being connected to for the first time
	since         time.Time            // when that began
	brought       time.Time            // when a peer last brought something, or the first was there to
	changed       chan struct{}        // closed, and made anew, when there may be something to ask for
	trouble, lack error                // the last of a peer, and of the origin
}

// chunk is what is known of one.
type chunk struct {
	want    priority
	here    bool
	holders int       // peers that have it
	fellows int       // of them, those that have not all
	open    time.Time // when the first fellow was known to have it
	asked   *source   // it was last asked of
	at      time.Time // when
}

// priority of a chunk.
type priority uint8

const (
	usual  priority = iota + 1
	urgent          // a read waits
)

func newTransfer(s *Swarm, d core.Digest) *transfer {
	t := &transfer{s: s, digest: d, begun: make(chan struct{}), changed: make(chan struct{}), met: map[core.Digest]bool{}}
	t.ctx, t.stop = context.WithCancelCause(s.ctx)
	t.finish = sync.OnceValue(func() error {
		err := t.part.Finish(t.ctx)
		if err != nil { // who asks again begins anew
			t.stop(err)
		}
		return err
	})
	return t
}

// failed returns why the transfer has ended.
func (t *transfer) failed() error {
	if t.ctx.Err() == nil {
		return nil
	}
	return context.Cause(t.ctx)
}

// run keeps the transfer going until it is stopped.
func (t *transfer) run() {
	release, err := t.begin()
	if err != nil {
		t.stop(err)
		close(t.begun)
		return
	}
	defer release()
	t.since = time.Now()
	close(t.begun)
	var wg sync.WaitGroup
	t.find(&wg)
	o := &source{t: t, all: true, origin: true}
	for range OriginAtOnce {
		wg.Go(func() { t.fromOrigin(o) })
	}
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for t.ctx.Err() == nil {
		select {
		case <-ticks.C:
			t.find(&wg)
		case <-t.ctx.Done():
		}
	}
	wg.Wait()
	t.s.log.Debug("a transfer has ended", "digest", t.digest, "took", time.Since(t.since), "why", t.failed())
}

// begin opens what is here of the content, and asks for its manifest if nothing is.
func (t *transfer) begin() (release func(), err error) {
	t.part, release, err = t.s.cfg.Store.Part(t.ctx, t.digest)
	if errors.Is(err, blob.ErrNotFound) {
		var m *blob.Manifest
		if m, err = t.s.cfg.Origin.Manifest(t.ctx, t.digest); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if m.Digest != t.digest {
			return nil, fmt.Errorf("the manifest is of %s: %w", m.Digest, blob.ErrManifest)
		}
		t.part, release, err = t.s.cfg.Store.NewPart(t.ctx, m)
	}
	if err != nil {
		return nil, err
	}
	t.m = t.part.Manifest()
	t.chunks = make([]chunk, t.m.Chunks())
	for n := range t.chunks {
		t.chunks[n].here = t.part.Has(n)
	}
	return release, nil
}

// find connects to peers that are new.
func (t *transfer) find(wg *sync.WaitGroup) {
	for _, a := range t.s.cfg.Sources(t.digest) {
		if a.Key == t.s.cfg.Self || !t.meet(a) {
			continue
		}
		wg.Go(func() { t.fromPeer(a) })
	}
}

// meet enters a peer, unless it is known.
func (t *transfer) meet(a peer.Address) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.met[a.Key] {
		return false
	}
	t.met[a.Key] = true
	t.greeting++
	return true
}

// greeted is called when the first attempt to connect to a peer has ended.
func (t *transfer) greeted() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.greeting--
	t.tell()
}

// tell wakes those who look for something to ask for; mu is held.
func (t *transfer) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// need waits until ranges are here.
func (t *transfer) need(ctx context.Context, p priority, ranges []blob.Range) error {
	var spans [][2]int
	for _, r := range ranges {
		first, last := t.m.Covering(r)
		spans = append(spans, [2]int{first, last})
	}
	t.want(p, spans)
	for _, s := range spans {
		for n := s[0]; n < s[1]; n++ {
			if err := t.await(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// want enters chunks among those to ask for.
func (t *transfer) want(p priority, spans [][2]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := false
	for _, s := range spans {
		for n := s[0]; n < s[1]; n++ {
			c := &t.chunks[n]
			if c.here || c.want >= p {
				continue
			}
			news = true
			if c.want == 0 {
				t.wanted++
			}
			if c.want = p; p == urgent {
				t.first = append(t.first, n)
			}
		}
	}
	if news {
		t.tell()
	}
}

// await waits for one chunk.
func (t *transfer) await(ctx context.Context, n int) error {
	for !t.part.Has(n) {
		_, more := t.part.Arrived(0)
		if t.part.Has(n) { // it came in between
			return nil
		}
		select {
		case <-more:
		case <-t.ctx.Done():
			return t.failed()
		case <-ctx.Done():
			t.mu.Lock()
			defer t.mu.Unlock()
			return errors.Join(context.Cause(ctx), t.trouble, t.lack)
		}
	}
	return nil
}

// take stores a chunk that a source has brought. It fails with blob.ErrMismatch if it is
// another; what else fails is the disk, and the end of the transfer.
func (t *transfer) take(from *source, n int, data []byte) error {
	err := t.part.Write(n, data)
	if errors.Is(err, blob.ErrMismatch) {
		return err
	}
	if err != nil {
		t.stop(err)
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.chunks[n]
	if c.asked == from {
		c.asked = nil
	}
	if from.origin {
		t.s.fromOrigin.Add(int64(len(data)))
	} else {
		t.s.fromPeers.Add(int64(len(data)))
		t.brought = time.Now()
	}
	if !c.here && c.want > 0 {
		t.wanted--
	}
	c.here = true
	return nil
}
