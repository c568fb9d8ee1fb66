package simulate

import (
	"bytes"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"html/template"

	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/learn/model"
)

// Report is what there is to tell of a federation; of one that was not simulated without
// the models that it could be compared with.
type Report struct {
	Simulated bool        `json:"simulated"`
	Name      string      `json:"name"`
	Run       core.Digest `json:"run"`
	Rounds    int         `json:"rounds"`
	Sites     int         `json:"sites"`
	Seconds   float64     `json:"seconds"`
	Hidden    string      `json:"hidden"` // what the hub saw of an update
	Weights   int         `json:"parameters"`
	// Bytes are those of one site's update in the first round: as it was sent, and as
	// floating point.
	Sent    int64           `json:"bytes_sent"`
	Float   int64           `json:"bytes_float"`
	Epsilon float64         `json:"epsilon,omitempty"`
	Delta   float64         `json:"delta,omitempty"`
	Unit    string          `json:"unit,omitempty"`
	Robust  *fed.Robustness `json:"robust,omitempty"`
	Drawn   string          `json:"drawn,omitempty"` // who is in a round, if not all
	History []fed.Round     `json:"history"`
	// Promotion says whether the model is the new one, where that is asked.
	Promotion *fed.Promotion `json:"promotion,omitempty"`
	Models    []Measured     `json:"models"`
}

// Measured is a model on all rows held out.
type Measured struct {
	Name     string  `json:"name"`
	Rows     int     `json:"rows"`
	Accuracy float64 `json:"accuracy"`
	AUC      float64 `json:"auc,omitempty"`
	F1       float64 `json:"f1"`
	Loss     float64 `json:"loss"`
}

func measured(name string, r *model.Report) Measured {
	return Measured{Name: name, Rows: r.Rows, Accuracy: float64(r.Accuracy) / 1e6, AUC: float64(r.AUC) / 1e6, F1: float64(r.F1) / 1e6, Loss: float64(r.Loss) / 1e6}
}

// Report tells of the simulation.
func (r *Result) Report() *Report {
	spec := r.Plan.Spec
	out := &Report{
		Simulated: true, Name: spec.Name, Run: r.State.Run, Rounds: spec.Rounds, Sites: r.Plan.Sites, Seconds: r.Took.Seconds(), Weights: r.Plan.Model.Size(),
		Float: 4 * int64(r.Plan.Model.Size()), History: r.State.Rounds, Hidden: "under masks: the hub saw sums alone",
		Robust: r.Plan.Robustness(), Drawn: r.Plan.Lot(), Promotion: r.State.Promotion,
	}
	if spec.Secure.Off {
		out.Hidden = "without masks: the hub saw each site's update"
	}
	if first := r.State.Rounds[0]; len(first.Sites) > 0 {
		out.Sent = first.Sent / int64(len(first.Sites))
	}
	if v := spec.Privacy; v != nil {
		out.Unit, out.Delta = string(v.Unit), v.Delta
		out.Epsilon, _ = r.Plan.PerRound.Times(spec.Rounds).Epsilon(v.Delta)
	}
	if r.Federated.Rows == 0 {
		return out
	}
	out.Models = append(out.Models, measured("federated", &r.Federated), measured("all rows in one place", &r.Pooled))
	for i := range r.Alone {
		out.Models = append(out.Models, measured(r.Members[i].Name+" alone", &r.Alone[i]))
	}
	return out
}

// Model is the trained model's file.
func (r *Result) Model() ([]byte, error) {
	input, err := json.Marshal(r.Plan.Spec.Features)
	if err != nil {
		return nil, err
	}
	about, err := json.Marshal(map[string]any{"federation": r.Plan.Spec.Name, "run": r.State.Run, "rounds": len(r.State.Rounds), "purpose": r.Plan.Spec.Purpose})
	if err != nil {
		return nil, err
	}
	return model.Save(model.File{Spec: r.Plan.Model, Params: r.State.Params, Input: input, About: about})
}

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": func(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) },
	"add":     func(a, b int) int { return a + b },
}).Parse(page))

// HTML is the report as a page that needs nothing else.
func (r *Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{"R": r, "Curve": r.curve(), "Bars": r.bars()})
	return b.Bytes(), err
}

// Sizes of pictures.
const (
	pictureWidth  = 640.0
	pictureHeight = 220.0
	margin        = 40.0
)

// Point of a picture, with what it stands for.
type Point struct {
	X, Y  float64
	Label string
}

// curve is the loss on rows held out, round by round.
func (r *Report) curve() (out []Point) {
	most := 0.0
	loss := func(x *fed.Round) float64 { return float64(x.Counts.Loss) / 1000 / float64(x.Counts.Held) }
	for i := range r.History {
		if x := &r.History[i]; x.Counts.Held > 0 {
			most = max(most, loss(x))
		}
	}
	for i := range r.History {
		x := &r.History[i]
		if x.Counts.Held == 0 {
			continue
		}
		at := float64(i) / float64(max(len(r.History)-1, 1))
		out = append(out, Point{margin + at*(pictureWidth-2*margin), pictureHeight - margin - loss(x)/most*(pictureHeight-2*margin), fmt.Sprintf("after %d rounds: loss %.4f", x.Number-1, loss(x))})
	}
	return out
}

// Bar of a picture.
type Bar struct {
	Y, Width float64
	Name     string
	Label    string
}

func (r *Report) bars() (out []Bar) {
	for i, m := range r.Models {
		value, what := m.Accuracy, "accuracy"
		if m.AUC > 0 {
			value, what = m.AUC, "AUC"
		}
		out = append(out, Bar{Y: float64(i) * 28, Width: value * 360, Name: m.Name, Label: fmt.Sprintf("%s %.4f", what, value)})
	}
	return out
}
