package control

import (
	"context"
	"errors"
	"io"

	"go.opentelemetry.io/otel/propagation"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/store"
)

// maxModel bounds a model's size; maxResult one part's result.
const (
	maxModel  = 64 << 30
	maxResult = 1 << 30
	// maxBringing is how many results of one lease may be on their way: a second,
	// where the first is lost and not yet given up. Nobody is charged for them
	// before they are reported.
	maxBringing = 2
)

// copyBlob writes size bytes from off on.
func (c *Control) copyBlob(w io.Writer, d core.Digest, off, size int64) error {
	f, _, err := c.cfg.Blobs.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(w, io.NewSectionReader(f, off, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readBlob reads size bytes at off, or all that follow if size is negative.
func (c *Control) readBlob(d core.Digest, off, size int64) ([]byte, error) {
	f, total, err := c.cfg.Blobs.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size < 0 {
		size = total - off
	}
	data := make([]byte, size)
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(f, data)
	return data, err
}

// modelBytes makes sure that a model given as a digest or pointer is stored, and
// that the account may use it.
func (c *Control) modelBytes(ctx context.Context, t *task, model string) (core.Digest, int64, error) {
	if d, err := core.ParseDigest(model); err == nil {
		model = "blob:" + d.String()
	}
	p, err := fetch.ParsePointer(model, core.Digest{})
	if err != nil {
		return core.Digest{}, 0, err
	}
	if p.Kind == fetch.Blob {
		size, err := c.uploaded(ctx, t.Account, p.Digest)
		if err != nil {
			return p.Digest, 0, err
		}
		return p.Digest, size, t.intake.use(c, p.Digest, size)
	}
	data, err := c.read(ctx, t.intake.reading, p, maxInput)
	if err != nil {
		return core.Digest{}, 0, err
	}
	d, err := t.intake.store(ctx, c, data)
	return d, int64(len(data)), err
}

// LeaseInput writes the input of a lease that the node holds.
func (c *Control) LeaseInput(_ context.Context, id core.NodeID, lease core.LeaseID, w io.Writer) error {
	c.mu.Lock()
	r := c.leases[lease]
	if r == nil || r.node.doc.ID != id {
		c.mu.Unlock()
		return core.Errorf(core.NotFound, "no live lease %s of this node", lease)
	}
	t, p, l := r.task, r.part.Part, *r.lease()
	c.mu.Unlock()
	if !t.InputBlob.IsZero() && !l.Partial {
		return c.copyBlob(w, t.InputBlob, p.Offset, p.Size)
	}
	data, err := c.openLeaseInput(t, &p, &l)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// uploaded returns the size of bytes that an account has brought itself.
func (c *Control) uploaded(ctx context.Context, a core.AccountID, d core.Digest) (int64, error) {
	size, err := c.store.Uploaded(ctx, a, d)
	if errors.Is(err, store.ErrNoRow) || err == nil && !c.cfg.Blobs.Has(d) {
		return 0, notUploaded(a, d)
	}
	return size, err
}

func notUploaded(a core.AccountID, d core.Digest) *core.Error {
	return core.Errorf(core.NotFound, "account %s has uploaded no bytes with digest %s", a, d).WithHint("upload them first with POST /v1/blobs")
}

// PutResult stores a result over bus.InlineLimit before it is reported.
func (c *Control) PutResult(ctx context.Context, id core.NodeID, lease core.LeaseID, r io.Reader) error {
	brought, err := c.bring(id, lease)
	if err != nil {
		return err
	}
	defer brought()
	owner := leaseAccount(lease)
	used, err := c.store.UploadedBytes(ctx, owner)
	if err != nil {
		return err
	}
	if used >= maxResult {
		return core.Errorf(core.TooLarge, "lease %s has brought results of %d bytes already", lease, used)
	}
	d, size, unpin, err := c.cfg.Blobs.PutUrgent(ctx, r, core.Digest{}, maxResult)
	if err != nil {
		return err
	}
	defer unpin() // must outlive the job, so the caller may not go before it
	return c.job(context.WithoutCancel(ctx), func(b *batch) error {
		b.tx.PutUpload(owner, d, size)
		return nil
	})
}

// bring enters a result that is on its way; brought is to be called at its end.
func (c *Control) bring(id core.NodeID, lease core.LeaseID) (brought func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.leases[lease]
	switch {
	case r == nil || r.node.doc.ID != id:
		return nil, core.Errorf(core.NotFound, "no live lease %s of this node", lease)
	case r.bringing == maxBringing:
		return nil, core.Errorf(core.Throttled, "%d results of lease %s are on their way already", maxBringing, lease)
	}
	r.bringing++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		r.bringing--
	}, nil
}

// NodeModel opens the model of a lease that the node holds, or one that it was asked to
// keep or of which it holds layers.
func (c *Control) NodeModel(_ context.Context, id core.NodeID, d core.Digest) (io.ReadSeekCloser, error) {
	if err := c.mayFetch(id, d); err != nil {
		return nil, err
	}
	f, _, err := c.cfg.Blobs.Open(d)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// NodeChunks says what each chunk of such a model is.
func (c *Control) NodeChunks(ctx context.Context, id core.NodeID, d core.Digest) (*blob.Manifest, error) {
	if err := c.mayFetch(id, d); err != nil {
		return nil, err
	}
	return c.cfg.Blobs.Manifest(ctx, d)
}

// mayFetch refuses models that a node has nothing to do with.
func (c *Control) mayFetch(id core.NodeID, d core.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok := c.asked(id, d)
	if n := c.nodes[id]; n != nil {
		for _, r := range n.leases {
			ok = ok || r.task.workOf(r.lease()).model == d
		}
	}
	if !ok {
		return core.Errorf(core.NotFound, "no live lease of this node uses model %s, nor is it to keep that", d)
	}
	return nil
}

// traceparent is the W3C header of ctx's span, or what the client sent.
func traceparent(ctx context.Context, sent string) string {
	h := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, h)
	if tp := h.Get("traceparent"); tp != "" {
		return tp
	}
	return sent
}
