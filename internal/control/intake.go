package control

import (
	"bytes"
	"context"

	"atoll/internal/core"
	"atoll/internal/store"
)

// intake is what a submission brings: what is read for it, room claimed from its
// account's quota of the disk, and content that is pinned until the task that
// needs it is stored. So content cannot go between being looked at and being
// referred to.
type intake struct {
	reading *reading
	claim   *claim
	pins    []func()
	blobs   []core.Digest  // to be kept with the task
	used    []store.Upload // of the account itself
}

func (c *Control) newIntake(a core.AccountID) *intake {
	return &intake{reading: c.readers.begin(a), claim: c.quota.claim(a)}
}

// store claims room for data and puts them into the blob store.
func (in *intake) store(ctx context.Context, c *Control, data []byte) (core.Digest, error) {
	if err := in.claim.add(int64(len(data))); err != nil {
		return core.Digest{}, err
	}
	d, _, unpin, err := c.cfg.Blobs.PutPinned(ctx, bytes.NewReader(data), core.Digest{}, maxInput)
	if err != nil {
		return d, err
	}
	in.pins, in.blobs = append(in.pins, unpin), append(in.blobs, d)
	return d, nil
}

// use keeps bytes that the account has uploaded.
func (in *intake) use(c *Control, d core.Digest, size int64) error {
	unpin, ok := c.cfg.Blobs.Pin(d)
	if !ok {
		return notUploaded(in.claim.account, d)
	}
	in.pins, in.blobs = append(in.pins, unpin), append(in.blobs, d)
	in.used = append(in.used, store.Upload{Account: in.claim.account, Digest: d, Size: size})
	return nil
}

// release ends the submission, whatever has become of it.
func (in *intake) release() {
	in.reading.end()
	in.claim.release()
	for _, unpin := range in.pins {
		unpin()
	}
}

// admit makes a submission's content the task's.
func (b *batch) admit(t *task) {
	t.Bytes = b.keep(t.intake.claim)
	for _, d := range t.intake.blobs {
		b.tx.PutTaskBlob(t.ID, d)
	}
	for _, u := range t.intake.used {
		if b.tx.PutUpload(u.Account, u.Digest, u.Size) {
			b.charge(u.Account, u.Size) // it expired a moment ago
		}
	}
	if t.batch != nil {
		t.batch.Task, t.batch.Account = t.ID, t.Account
		b.tx.PutBatch(t.batch)
	}
	t.intake, t.batch = nil, nil
}
