package receipt

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
)

type subject struct {
	Name   string `json:"name"`
	Digest struct {
		SHA256 string `json:"sha256"`
	} `json:"digest"`
}

// statement is an in-toto Statement v1; the order of members is that of the text.
type statement[P any] struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     P         `json:"predicate"`
}

// claim is what a statement says of its subject: of a lease, but in a Round.
type claim struct {
	name   string
	lease  core.LeaseID
	task   core.TaskID
	result core.Digest
	nonce  string // empty in a verdict
}

func (e *Execution) claims() []claim {
	out := make([]claim, len(e.Leases))
	for i := range e.Leases {
		l := &e.Leases[i]
		out[i] = claim{l.Lease.String(), l.Lease, l.Task, l.Result, l.Nonce}
	}
	return out
}

func (v *Verdict) claims() []claim {
	out := make([]claim, len(v.Leases))
	for i := range v.Leases {
		l := &v.Leases[i]
		out[i] = claim{l.Lease.String(), l.Lease, l.Task, l.Result, ""}
	}
	return out
}

type predicate interface {
	check() error
	claims() []claim
}

// encode checks a predicate and returns its statement's bytes. Equal predicates
// give equal bytes.
func encode(kind string, p predicate) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	claims := p.claims()
	s := statement[predicate]{Type: statementType, PredicateType: kind, Predicate: p, Subject: make([]subject, len(claims))}
	for i, c := range claims {
		s.Subject[i].Name = c.name
		s.Subject[i].Digest.SHA256 = c.result.Hex()
	}
	b, err := json.Marshal(&s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return b, nil
}

// opened is a parsed statement: one of the three is set.
type opened struct {
	kind      string
	execution *Execution
	verdict   *Verdict
	round     *Round
}

func (o *opened) predicate() predicate {
	switch {
	case o.execution != nil:
		return o.execution
	case o.verdict != nil:
		return o.verdict
	}
	return o.round
}

// decode reads a statement of any type, strictly.
func decode(payload []byte) (*opened, error) {
	var s statement[jsontext.Value]
	if err := strict(payload, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if s.Type != statementType {
		return nil, fault("_type %.80q, want %s", s.Type, statementType)
	}
	o := &opened{kind: s.PredicateType}
	var err error
	switch s.PredicateType {
	case ExecutionType:
		o.execution = new(Execution)
		err = strict(s.Predicate, o.execution)
	case VerdictType:
		o.verdict = new(Verdict)
		err = strict(s.Predicate, o.verdict)
	case RoundType:
		o.round = new(Round)
		err = strict(s.Predicate, o.round)
	default:
		return nil, fault("predicate type %.80q is not known", s.PredicateType)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: predicate: %w", ErrPayload, err)
	}
	if err := o.predicate().check(); err != nil {
		return nil, err
	}
	claims := o.predicate().claims()
	if len(claims) != len(s.Subject) {
		return nil, fault("%d subjects, want %d", len(s.Subject), len(claims))
	}
	for i, c := range claims {
		if s.Subject[i].Name != c.name || s.Subject[i].Digest.SHA256 != c.result.Hex() {
			return nil, fault("subject[%d] is not %s with its result", i, c.name)
		}
	}
	return o, nil
}

// strict decodes one JSON value: unknown and doubled members, invalid UTF-8 and
// anything after the value are errors.
func strict(b []byte, into any) error {
	return json.Unmarshal(b, into, json.RejectUnknownMembers(true))
}
