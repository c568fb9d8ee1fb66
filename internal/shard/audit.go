package shard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"atoll/internal/core"
	"atoll/internal/llm"
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
	row      int // bytes of one
	rows     []byte
	at       time.Time
}

// keep takes rows, and lets the oldest go for which there is no room.
func (a *archive) keep(k keptRows) {
	size := len(k.rows)
	if size == 0 || size > archiveBytes {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = append(a.kept, k)
	a.bytes += size
	for a.bytes > archiveBytes || k.at.Sub(a.kept[0].at) > auditWindow {
		a.bytes -= len(a.kept[0].rows)
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
	return keptRows{line: s.line, sequence: id, row: s.rowsOut.Bytes(), rows: q.out}, true // rows are only added
}

// RowsRequest asks a stage for the first rows that it has sent of a sequence.
type RowsRequest struct {
	Line      LineID `json:"line"`
	Sequence  uint32 `json:"sequence"`
	Positions int    `json:"positions"`
	Ticket    []byte `json:"ticket"` // the hub's word that the auditor may have them
}

// rowsAnswer precedes the rows: Positions of Bytes each, in the form of the boundary.
type rowsAnswer struct {
	Error     string `json:"error,omitempty"`
	Positions int    `json:"positions"`
	Bytes     int    `json:"bytes"`
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
	if err := writeJSON(s, &rowsAnswer{Positions: q.Positions, Bytes: k.row}); err != nil {
		return
	}
	_, _ = s.Write(k.rows[:q.Positions*k.row]) // who has asked sees what is missing
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
	if !ok || q.Positions < 1 || q.Positions > len(k.rows)/k.row {
		return k, core.Errorf(core.NotFound, "%d positions of sequence %d of line %s are not kept here", q.Positions, q.Sequence, q.Line.Short())
	}
	return k, nil
}

// FetchRows asks a stage for the rows that it has sent, which are in that form.
func FetchRows(ctx context.Context, open func(context.Context, peer.Address, string) (peer.Stream, error), from peer.Address, q *RowsRequest, form llm.RowForm) ([]byte, error) {
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
	case a.Bytes != form.Bytes() || a.Positions != q.Positions:
		return nil, malformed("%d rows of %d bytes, not %d of %d", a.Positions, a.Bytes, q.Positions, form.Bytes())
	}
	var rows bytes.Buffer // grows with what comes
	if _, err := io.CopyN(&rows, s, int64(q.Positions*a.Bytes)); err != nil {
		return nil, fmt.Errorf("rows of %s: %w", from.Node, err)
	}
	if err := form.Check(rows.Bytes()); err != nil {
		return nil, malformed("rows of %s: %v", from.Node, err)
	}
	return rows.Bytes(), nil
}

// Recompute does a stage's work on a sequence again, from tokens at the head and from
// rows elsewhere, and returns what an honest stage states of it, but for who it is.
func Recompute(ctx context.Context, c StageConfig, terms record.Terms, tokens []int32, rows []byte) (*record.Statement, error) {
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
	if !s.first && q.take(0, rows, s.rowsIn.Bytes()) {
		return nil, malformed("rows") // never: they begin at 0
	}
	for q.why == "" && q.computed < q.received {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		work := s.gather()
		if err := s.compute(work); err != nil {
			return nil, err
		}
		s.store(work)
	}
	if q.why != "" {
		return nil, core.Errorf(core.Invalid, "%s", q.why)
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	return s.statement(id, q.computed)
}
