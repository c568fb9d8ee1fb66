package simtest

import (
	"encoding/json"
	"fmt"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/agent"
	"atoll/internal/shard/audit"
	"atoll/internal/shard/record"
)

// runAudit computes one stage of an answer again.
func (n *node) runAudit(data []byte) agent.Outcome {
	var q audit.Question
	if err := json.Unmarshal(data, &q); err != nil {
		n.w.violation("the hub asks an auditor for %q: %v", data, err)
		return agent.Outcome{Fault: err.Error()}
	}
	f, err := n.find(&q)
	if err != nil {
		n.w.violation("the hub asks an auditor for what cannot be: %v", err)
		return agent.Outcome{Fault: err.Error()}
	}
	said, err := json.Marshal(f)
	if err != nil {
		panic("simtest: " + err.Error())
	}
	return agent.Outcome{Data: append(said, '\n')}
}

func (n *node) find(q *audit.Question) (*audit.Finding, error) {
	f := new(audit.Finding)
	var err error
	if f.Told, err = audit.Told(written(q.Line, q.Tokens)); err != nil || q.Last == 0 {
		return f, err
	}
	var rows []core.Digest
	if q.First > 0 {
		if rows, err = n.fetchRows(&q.Source); err != nil || len(rows) < q.Positions {
			f.Unavailable = fmt.Sprintf("%d rows of %d: %v", len(rows), q.Positions, err)
			return f, nil
		}
	}
	terms := termsOf(q.Line)
	in, out, logits := record.New(terms.Start()), record.New(terms.Start()), record.New(terms.Start())
	outs := q.Positions
	for p := range q.Positions {
		var row core.Digest
		if q.First > 0 {
			row = rows[p]
			in.Rows(row[:], 1)
		} else {
			token := append(tokensOf(q.Line), q.Tokens...)[p]
			in.Token(token)
			row = embedded(p, token)
		}
		row = through(row, q.First, q.Last)
		switch {
		case q.Last < lineLayers:
			out.Rows(row[:], 1)
		case p >= terms.Prompt-1:
			token, fingerprint := drawFrom(row)
			out.Token(token)
			logits.Logits(fingerprint)
		}
	}
	if f.Start = terms.Start(); q.Last == lineLayers {
		outs -= terms.Prompt - 1
		f.Logits = logits.Links(outs)
	}
	f.In, f.Out = in.Links(q.Positions), out.Links(outs)
	return f, nil
}

func tokensOf(question []byte) (out []int32) {
	for _, b := range question {
		out = append(out, int32(b))
	}
	return out
}

// fetchRows asks a node for what it has sent, with the hub's ticket.
func (n *node) fetchRows(s *audit.Source) ([]core.Digest, error) {
	from := n.w.byID[string(s.Node)]
	payload, err := identity.Open(s.Ticket, audit.TicketType, n.w.hub.key.Public())
	if err != nil {
		n.w.violation("%s was given a ticket that is not the hub's: %v", n.id, err)
		return nil, err
	}
	var t audit.Ticket
	switch err := json.Unmarshal(payload, &t); {
	case err != nil || t.Line != s.Line || t.Sequence != s.Sequence || t.Source != s.Node:
		n.w.violation("%s was given a ticket for other rows: %+v", n.id, t)
		return nil, err
	case from == nil || from.core == nil || !n.reaches(from):
		return nil, fmt.Errorf("%s cannot be reached", s.Node)
	}
	return from.lines.sent[sequence{s.Line, s.Sequence}], nil
}
