package server

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/store"
)

// event is what has happened in the round under way, one of three things.
type event struct {
	AtMs int64 `json:"at"` // by the federation's clock
	// Reply is one of a site, without its vector, which is content of its own.
	Reply  json.RawMessage `json:"reply,omitempty"`
	Vector core.Digest     `json:"vector,omitzero"`
	// Gone, from 1, is a site that does not answer, and Why.
	Gone int    `json:"gone,omitzero"`
	Why  string `json:"why,omitempty"`
	// Otherwise a deadline has passed.

	reply *fed.Reply // with its vector
}

// happen has an event change the machine. moved: others may be waited for than before,
// besides who has replied.
func (e *event) happen(m *fed.Machine) (moved bool, err error) {
	at := time.UnixMilli(e.AtMs)
	var sends []fed.Send
	switch {
	case e.reply != nil:
		sends, err = m.Receive(e.reply, at)
		return len(sends) > 0 || e.reply.Refused != "" || m.Over(), err
	case e.Gone > 0:
		_, err = m.Leave(e.Gone-1, e.Why, at)
	default:
		_, err = m.Tick(at)
	}
	return true, err
}

// replay has the events of the round under way happen again.
func (s *Server) replay(ctx context.Context, id core.FederationID, m *fed.Machine) (n, lastMs int64, err error) {
	for e, err := range store.FederationEvents[event](ctx, s.cfg.Store, id) {
		if err != nil {
			return n, lastMs, err
		}
		if e.Reply != nil {
			e.reply = new(fed.Reply)
			if err := json.Unmarshal(e.Reply, e.reply); err != nil {
				return n, lastMs, err
			}
		}
		if !e.Vector.IsZero() {
			if e.reply.Vector, err = s.readBlob(e.Vector); err != nil {
				return n, lastMs, err
			}
		}
		if _, err := e.happen(m); err != nil {
			return n, lastMs, err
		}
		n, lastMs = n+1, e.AtMs
	}
	return n, lastMs, nil
}

// keepVector has the reply's vector kept, until release is called or the round ends.
func (s *Server) keepVector(ctx context.Context, e *event) (release func(), err error) {
	if len(e.reply.Vector) == 0 {
		return func() {}, nil
	}
	e.Vector, _, release, err = s.cfg.Blobs.PutUrgent(ctx, bytes.NewReader(e.reply.Vector), core.Digest{}, int64(len(e.reply.Vector)))
	return release, err
}
