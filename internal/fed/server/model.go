package server

import (
	"context"
	_ "embed" // the card
	"encoding/json"
	"strings"
	"text/template"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/learn/model"
	"atoll/internal/request"
	"atoll/internal/store"
)

// Lineage is what a model's file says of where the model is from. The receipts of its
// rounds chain: each names the parameters that it began and ended with.
type Lineage struct {
	Federation core.FederationID `json:"federation"`
	Name       string            `json:"name"`
	Purpose    string            `json:"purpose,omitempty"`
	Dataset    string            `json:"dataset"`
	Spec       core.Digest       `json:"spec_digest"`
	Run        core.Digest       `json:"run_digest"`
	Sites      []LineageSite     `json:"sites"`
	Rounds     int               `json:"rounds"`
	Params     core.Digest       `json:"params_digest"`
	// Of the receipts of the first and the last round, in the hub's log.
	FirstReceipt int64   `json:"first_receipt"`
	LastReceipt  int64   `json:"last_receipt"`
	Unit         string  `json:"privacy_unit,omitempty"`
	Epsilon      float64 `json:"epsilon,omitempty"`
	Delta        float64 `json:"delta,omitempty"`
}

// LineageSite is a node that could take part, and in how many rounds it did.
type LineageSite struct {
	Node   core.NodeID `json:"node"`
	Key    core.Digest `json:"key_digest"`
	Rounds int         `json:"rounds"`
}

// history is a federation with its rounds.
type history struct {
	Federation api.Federation
	Lineage    Lineage
	Rounds     []api.FederationRound
	Spec       *fed.Spec
	Parameters int
	Robust     *fed.Robustness
}

func (s *Server) history(ctx context.Context, v request.Viewer, id core.FederationID) (*history, *record, error) {
	rec, err := s.seen(ctx, v, id)
	if err != nil {
		return nil, nil, err
	}
	f, err := s.view(ctx, rec)
	if err != nil {
		return nil, nil, err
	}
	rows, err := store.FederationRounds[round](ctx, s.cfg.Store, id, 0, fed.MaxRounds+1)
	if err != nil {
		return nil, nil, err
	}
	h := &history{Federation: f}
	if h.Spec, err = fed.Parse(rec.Spec); err != nil {
		return nil, nil, err
	}
	plan, err := fed.NewPlan(h.Spec, len(rec.Members))
	if err != nil {
		return nil, nil, err
	}
	h.Parameters, h.Robust = plan.Model.Size(), plan.Robustness()
	h.Lineage = Lineage{
		Federation: id, Name: f.Name, Purpose: f.Purpose, Dataset: f.Dataset, Spec: f.Spec, Run: f.Run, Rounds: len(rows), Params: rec.Before,
		Unit: f.Unit, Epsilon: f.Epsilon, Delta: f.Delta,
	}
	took := map[int]int{}
	for i, x := range rows {
		if i == 0 {
			h.Lineage.FirstReceipt = x.Leaf
		}
		h.Lineage.LastReceipt = x.Leaf
		for _, site := range x.Sites {
			took[site]++
		}
		h.Rounds = append(h.Rounds, rec.roundView(x))
	}
	for i := range rec.Members {
		m := &rec.Members[i]
		h.Lineage.Sites = append(h.Lineage.Sites, LineageSite{Node: m.Node, Key: m.Digest, Rounds: took[i]})
	}
	return h, rec, nil
}

// Model returns the file of the model as it stands: of a federation that goes on, after
// the newest round that is over.
func (s *Server) Model(ctx context.Context, v request.Viewer, id core.FederationID) ([]byte, error) {
	h, rec, err := s.history(ctx, v, id)
	if err != nil {
		return nil, err
	}
	if len(h.Rounds) == 0 {
		return nil, core.Errorf(core.Conflict, "no round of %s is over", id)
	}
	b, err := s.readBlob(rec.Weights)
	if err != nil {
		return nil, err
	}
	state, err := rec.Machine.whole(b)
	if err != nil {
		return nil, err
	}
	plan, err := fed.NewPlan(h.Spec, len(rec.Members))
	if err != nil {
		return nil, err
	}
	about, err := json.Marshal(&h.Lineage)
	if err != nil {
		return nil, err
	}
	input, err := json.Marshal(h.Spec.Features)
	if err != nil {
		return nil, err
	}
	return model.Save(model.File{Spec: plan.Model, Params: state.Params, Input: input, About: about})
}

//go:embed card.md.tmpl
var cardText string

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"percent": func(x float64) float64 { return 100 * x },
	"day":     func(t time.Time) string { return t.Format(time.DateOnly) },
}).Parse(cardText))

// Card returns the model's card, in Markdown, after Mitchell et al., "Model cards for
// model reporting" (2019): what it is for, what it was trained on, how it fares, and what
// was told of whom.
func (s *Server) Card(ctx context.Context, v request.Viewer, id core.FederationID) ([]byte, error) {
	h, _, err := s.history(ctx, v, id)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if err := cardTemplate.Execute(&b, h); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
