package shard

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard/record"
)

// Stages keep the rows that they have sent for a while after a sequence has ended, so
// that the stage behind can be audited: its rows are computed again from what was sent
// to it, and its statement compared with what comes of that.
const (
	auditWindow  = 10 * time.Minute
	archiveBytes = 256 << 20 // of rows that a node keeps
)

// archive has rows of sequences that have ended, the oldest first.
type archive struct {
	mu    sync.Mutex
	kept  []keptRows
	bytes int
}

type keptRows struct {
	line     LineID
	sequence uint32
	dim      int
	rows     []float32
	at       time.Time
}

// keep takes rows, and lets the oldest go for which there is no room.
func (a *archive) keep(k keptRows) {
	size := 4 * len(k.rows)
	if size == 0 || size > archiveBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = append(a.kept, k)
	a.bytes += size
	for a.bytes > archiveBytes || k.at.Sub(a.kept[0].at) > auditWindow {
		a.bytes -= 4 * len(a.kept[0].rows)
		a.kept = a.kept[1:]
	}
}

func (a *archive) find(line LineID, sequence uint32) (keptRows, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kept {
		if k.line == line && k.sequence == sequence {
			return k, true
		}
	}
	return keptRows{}, false
}

// sent are the rows of a sequence that goes on.
func (s *Stage) sent(id uint32) (keptRows, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.seqs[id]
	if q == nil {
		return keptRows{}, false
	}
	return keptRows{line: s.line, sequence: id, dim: s.dim, rows: q.out}, true // rows are only added
}

// RowsRequest asks a stage for the first rows that it has sent of a sequence.
type RowsRequest struct {
	Line      LineID `json:"line"`
	Sequence  uint32 `json:"sequence"`
	Positions int    `json:"positions"`
	Ticket    []byte `json:"ticket"` // the hub's word that the auditor may have them
}

// rowsAnswer precedes the rows: Positions × Dim numbers as binary32, little-endian.
type rowsAnswer struct {
	Error     string `json:"error,omitempty"`
	Positions int    `json:"positions"`
	Dim       int    `json:"dim"`
}

// ProtocolAudit is that of peer streams on which an auditor asks for rows.
const ProtocolAudit = "atoll-audit/1"

// audits answers auditors.
func (m *Member) audits(_ context.Context, s peer.Stream) {
	_ = s.SetDeadline(time.Now().Add(auditTime))
	var q RowsRequest
	if err := readJSON(s, &q); err != nil {
		return
	}
	k, err := m.rowsFor(s.Peer(), &q)
	if err != nil {
		_ = writeJSON(s, &rowsAnswer{Error: err.Error()})
		return
	}
	if err := writeJSON(s, &rowsAnswer{Positions: q.Positions, Dim: k.dim}); err != nil {
		return
	}
	b := make([]byte, 0, 4*k.dim)
	for rows := k.rows[:q.Positions*k.dim]; len(rows) > 0; rows = rows[k.dim:] {
		b = b[:0]
		for _, v := range rows[:k.dim] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if _, err := s.Write(b); err != nil {
			return
		}
	}
}

// auditTime bounds the sending of rows.
const auditTime = 2 * time.Minute

func (m *Member) rowsFor(auditor peer.Peer, q *RowsRequest) (keptRows, error) {
	if m.cfg.Audit == nil {
		return keptRows{}, core.Errorf(core.Unsupported, "this node is not audited")
	}
	if err := m.cfg.Audit(auditor, q); err != nil {
		return keptRows{}, err
	}
	k, ok := m.archive.find(q.Line, q.Sequence)
	if stage := m.stage(q.Line); !ok && stage != nil { // it has not ended here yet
		k, ok = stage.sent(q.Sequence)
	}
	if !ok || q.Positions < 1 || q.Positions*k.dim > len(k.rows) {
		return k, core.Errorf(core.NotFound, "%d positions of sequence %d of line %s are not kept here", q.Positions, q.Sequence, q.Line.Short())
	}
	return k, nil
}

// FetchRows asks a stage for the rows that it has sent. dim is how many numbers one
// should have.
func FetchRows(ctx context.Context, open func(context.Context, peer.Address, string) (peer.Stream, error), from peer.Address, q *RowsRequest, dim int) ([]float32, error) {
	s, err := open(ctx, from, ProtocolAudit)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := writeJSON(s, q); err != nil {
		return nil, err
	}
	var a rowsAnswer
	if err := readJSON(s, &a); err != nil {
		return nil, err
	}
	switch {
	case a.Error != "":
		return nil, fmt.Errorf("%s: %s", from.Node, core.Clip(a.Error, maxWords))
	case a.Dim != dim || a.Positions != q.Positions:
		return nil, malformed("%d rows of %d, not %d of %d", a.Positions, a.Dim, q.Positions, dim)
	}
	rows := make([]float32, 0, min(q.Positions, 1024)*dim) // grows with what comes
	b := make([]byte, 4*dim)
	for range q.Positions {
		if _, err := io.ReadFull(s, b); err != nil {
			return nil, fmt.Errorf("rows of %s: %w", from.Node, err)
		}
		for i := range dim {
			rows = append(rows, math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return rows, nil
}

// Recompute does a stage's work on a sequence again, from tokens at the head and from
// rows elsewhere, and returns what an honest stage states of it, but for who it is.
func Recompute(ctx context.Context, c StageConfig, terms record.Terms, tokens []int32, rows []float32) (*record.Statement, error) {
	c.Pages = (terms.Limit + repro.PagePositions - 1) / repro.PagePositions
	s, err := NewStage(c)
	if err != nil {
		return nil, err
	}
	if !s.first {
		tokens = nil // it has none: rows are what it gets
	}
	const id = 1
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(&opened{Sequence: id, Prompt: uint32(terms.Prompt), Limit: uint32(terms.Limit), Opening: terms.Opening}, tokens); err != nil {
		return nil, err
	}
	q := s.seqs[id]
	if !s.first && q.take(0, rows, s.dim) {
		return nil, malformed("rows") // never: they begin at 0
	}
	for q.why == "" && q.computed < q.received {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		work := s.gather()
		s.compute(work)
		s.store(work)
	}
	if q.why != "" {
		return nil, core.Errorf(core.Invalid, "%s", q.why)
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.statement(id, q.computed)
}
