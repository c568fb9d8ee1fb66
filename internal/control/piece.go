package control

import (
	"bytes"
	"context"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/lifecycle"
	"atoll/internal/receipt"
)

// Pieces are inputs of checks that repeat only a piece of the work: see
// engine.Piece. They are stored with the results of their part, by content.

// Of what is larger, all is run again.
const (
	maxPiece = 1 << 20  // bytes of a piece: it is kept in SQL
	maxClaim = 16 << 20 // bytes of the input and of the claim, which are in memory for it
)

// derivePieces makes the inputs of the checks that a report's results are drawn
// for, outside the writer: claims may be long. Where none can be made, as of a
// claim that no engine could have made, all is run again.
func (c *Control) derivePieces(x *checked) {
	for i := range x.execution.Leases {
		e := &x.execution.Leases[i]
		c.mu.Lock()
		r := c.leases[e.Lease]
		if r == nil || r.node.doc.ID != x.node || r.task.Terms.Span == 0 && !r.part.Tested(&r.task.Terms) || e.Outcome != receipt.OK {
			c.mu.Unlock()
			continue
		}
		t, p, l := r.task, &part{Part: r.part.Part}, *r.lease()
		c.mu.Unlock()
		if l.Receipt = x.digest; !drawn(t, &l) {
			continue
		}
		if l.Line != "" {
			asking, test := c.askAuditor(t, p, &l, x)
			x.piece(e.Lease, asking)
			x.testedAtOnce(e.Lease, test)
			continue
		}
		if t.Terms.Method == lifecycle.Logprobs {
			asking, test := c.question(t, p, &l, e.Result, x)
			x.piece(e.Lease, asking)
			x.testedAtOnce(e.Lease, test)
			continue
		}
		data, err := c.piece(t, p, &l, e.Result, x)
		switch {
		case err != nil:
			c.log.Info("a result cannot be checked by a piece of it: all is run again", "lease", e.Lease, "error", err)
			continue
		case len(data) > maxPiece || core.DigestOf(data) == p.Input:
			continue
		}
		x.piece(e.Lease, data)
	}
}

// piece sets what the check of a lease is to run.
func (x *checked) piece(l core.LeaseID, data []byte) {
	if x.pieces == nil {
		x.pieces = map[core.LeaseID][]byte{}
	}
	x.pieces[l] = data
}

// piece derives what the check of a lease is to run.
func (c *Control) piece(t *task, p *part, l *lifecycle.Lease, result core.Digest, x *checked) ([]byte, error) {
	input, claimed, err := c.claim(t, p, l.ID, result, x)
	if err != nil {
		return nil, err
	}
	return c.cfg.Pieces[t.Engine](engine.Input{Data: input, Params: t.params}, claimed, t.Terms.Span, lot(t, l))
}

// claim returns a part's input and the result that a report brings of a lease, if
// they are not too long to be taken apart.
func (c *Control) claim(t *task, p *part, l core.LeaseID, result core.Digest, x *checked) (input, claimed []byte, err error) {
	size, uploaded := x.uploaded[l]
	if p.Size > maxClaim || size > maxClaim {
		return nil, nil, core.Errorf(core.TooLarge, "an input of %d bytes and a claim of %d, at most %d of either", p.Size, size, maxClaim)
	}
	claimed = x.results[l].Data
	if uploaded {
		if claimed, err = c.readBlob(result, 0, -1); err != nil {
			return nil, nil, err
		}
	}
	input, err = c.openInput(t, p)
	return input, claimed, err
}

// stored reads bytes that are kept with a part's results.
func (c *Control) stored(t *task, p *part, d core.Digest) ([]byte, error) {
	var b bytes.Buffer
	err := c.writeStored(context.Background(), &b, t.ID, p.Index, d)
	return b.Bytes(), err
}

// keepPiece stores what the check of a drawn lease is to run.
func (b *batch) keepPiece(r *leaseRef, l *lifecycle.Lease, piece []byte) {
	if !l.Drawn || piece == nil {
		return
	}
	l.Piece, l.PieceSize = core.DigestOf(piece), int64(len(piece))
	b.tx.PutResult(r.task.ID, r.part.Index, l.Piece, piece)
	r.task.Bytes += l.PieceSize
	b.charge(r.task.Account, l.PieceSize)
}

// openLeaseInput returns the bytes of what a lease runs. A piece is read from SQL:
// it is there before any lease of it is sent.
func (c *Control) openLeaseInput(t *task, p *lifecycle.Part, l *lifecycle.Lease) ([]byte, error) {
	if !l.Partial {
		return c.openInput(t, &part{Part: *p})
	}
	d, _ := p.InputOf(l)
	return c.stored(t, &part{Part: *p}, d)
}
