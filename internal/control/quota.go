package control

import (
	"context"
	"io"
	"slices"
	"sync"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/lifecycle"
	"atoll/internal/request"
)

// DefaultQuota is how many bytes the hub keeps for an account, unless told
// otherwise.
const DefaultQuota = 64 << 30

// quota counts the bytes that are kept for each account: what it has uploaded,
// and inputs and results of its tasks. Bytes that are on their way in count from
// the moment they are read, so that many requests at a time get no more in than
// one after another.
type quota struct {
	limit int64

	mu     sync.Mutex
	kept   map[core.AccountID]int64 // as in SQL, once the running batch is durable
	coming map[core.AccountID]int64
}

func newQuota(limit int64) *quota {
	return &quota{limit: limit, kept: map[core.AccountID]int64{}, coming: map[core.AccountID]int64{}}
}

// change adds to what is kept and to what is coming, and returns what is kept.
func (q *quota) change(a core.AccountID, kept, coming int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kept[a] = max(0, q.kept[a]+kept)
	if q.coming[a] += coming; q.coming[a] == 0 {
		delete(q.coming, a)
	}
	return q.kept[a]
}

// claim is the room that one request has taken so far. It is kept by batch.keep
// or given back by release.
type claim struct {
	quota   *quota
	account core.AccountID
	bytes   int64
}

func (q *quota) claim(a core.AccountID) *claim { return &claim{quota: q, account: a} }

// add takes room for n more bytes, or refuses.
func (m *claim) add(n int64) error {
	q := m.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	if used := q.kept[m.account] + q.coming[m.account]; n > q.limit-used {
		return core.Errorf(core.TooLarge, "account %s has %d bytes kept or on their way, of %d that it may have: no room for %d more", m.account, used, q.limit, n).
			WithHint("ended tasks and unused uploads give room back when the hub's --retention is over; or ask the operator for a larger --quota")
	}
	q.coming[m.account] += n
	m.bytes += n
	return nil
}

func (m *claim) release() {
	m.quota.change(m.account, 0, -m.bytes)
	m.bytes = 0
}

// reader takes room for whatever is read from r.
func (m *claim) reader(r io.Reader) io.Reader { return &claimingReader{m, r} }

type claimingReader struct {
	claim *claim
	from  io.Reader
}

func (r *claimingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		if err := r.claim.add(int64(n)); err != nil {
			return 0, err
		}
	}
	return n, err
}

// keep turns a claim into bytes that are kept, and returns how many.
func (b *batch) keep(m *claim) int64 {
	n := m.bytes
	m.release()
	b.charge(m.account, n)
	return n
}

// charge counts n bytes more (or less) for an account, without asking whether it
// may: for what is there already.
func (b *batch) charge(a core.AccountID, n int64) {
	b.c.quota.change(a, n, 0)
	if !slices.Contains(b.charged, a) {
		b.charged = append(b.charged, a)
	}
}

func (b *batch) writeUsage() {
	for _, a := range b.charged {
		b.tx.PutUsage(a, b.c.quota.change(a, 0, 0))
	}
}

// keepResult stores a result that a lease has brought, size bytes over HTTP or
// else with its report. Equal results of a part are kept, and charged, once.
func (b *batch) keepResult(r *leaseRef, l *lifecycle.Lease, res bus.Result, size int64) {
	same := slices.ContainsFunc(r.part.Leases, func(o lifecycle.Lease) bool { return o.ID != l.ID && o.Result == l.Result })
	switch {
	case same:
		return
	case res.Uploaded:
		b.tx.PutResult(r.task.ID, r.part.Index, l.Result, nil)
		b.tx.PutTaskBlob(r.task.ID, l.Result)
	case len(res.Data) > 0:
		size = int64(len(res.Data))
		b.tx.PutResult(r.task.ID, r.part.Index, l.Result, res.Data)
	}
	r.task.Bytes += size
	b.charge(r.task.Account, size)
}

// PutBlob stores uploaded bytes and lets the account use them, by their digest,
// from now on. Nobody else may: a digest is no secret, receipts tell it.
func (c *Control) PutBlob(ctx context.Context, v request.Viewer, r io.Reader, want core.Digest, limit int64) (core.Digest, int64, error) {
	m := c.quota.claim(v.Account)
	defer m.release()
	d, size, unpin, err := c.cfg.Blobs.PutPinned(ctx, m.reader(r), want, limit)
	if err != nil {
		return d, 0, err
	}
	defer unpin()
	// Claim and pin must outlive the job, so the caller may not go before it.
	return d, size, c.job(context.WithoutCancel(ctx), func(b *batch) error {
		if b.tx.PutUpload(v.Account, d, size) {
			b.keep(m)
		}
		return nil
	})
}

func (c *Control) loadUsage(ctx context.Context) (err error) {
	c.quota.kept, err = c.store.Usage(ctx)
	return err
}
