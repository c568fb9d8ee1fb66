package model

import (
	"errors"
	"fmt"
	"math"

	"atoll/internal/learn/text"
	"atoll/internal/repro"
)

// Kind is a family of models.
type Kind string

// The kinds of models.
const (
	Logistic Kind = "logistic" // one layer over the numbers of a row
	MLP      Kind = "mlp"      // hidden layers with ReLU over the numbers of a row
	Text     Kind = "text"     // one layer over the hashed features of a text
)

// Limits. They bound what a stranger's specification can cost.
const (
	MaxParameters = 1 << 26
	MaxInputs     = 1 << 16
	MaxHidden     = 1 << 14 // width of a layer
	MaxLayers     = 8       // hidden ones
	MaxClasses    = text.MaxLabels
)

// ErrSpec means that there is no such model.
var ErrSpec = errors.New("no such model")

// Spec says what a model is made of.
type Spec struct {
	Kind    Kind     `json:"kind"`
	Inputs  int      `json:"inputs,omitempty"` // numbers of a row; of texts none
	Hidden  []int    `json:"hidden,omitempty"` // widths of the hidden layers of an mlp
	Bits    int      `json:"bits,omitempty"`   // of texts: their features are hashed into 2^bits buckets
	Classes []string `json:"classes"`          // what labels 0, 1, … mean
}

// Check refuses what cannot be a model, with the reason.
func (s Spec) Check() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(format, args...))
	}
	if n := len(s.Classes); n < 2 || n > MaxClasses {
		return refuse("%d classes, want 2 to %d", n, MaxClasses)
	}
	seen := make(map[string]bool)
	for _, c := range s.Classes {
		if err := text.CheckLabel(c); err != nil {
			return refuse("%v", err)
		}
		if seen[c] {
			return refuse("class %q is named twice", c)
		}
		seen[c] = true
	}
	switch s.Kind {
	case Logistic, MLP:
		if s.Inputs < 1 || s.Inputs > MaxInputs || s.Bits != 0 {
			return refuse("a %s model of %d inputs and %d bits, want 1 to %d inputs and no bits", s.Kind, s.Inputs, s.Bits, MaxInputs)
		}
	case Text:
		if s.Bits < text.MinBits || s.Bits > text.MaxBits || s.Inputs != 0 {
			return refuse("a text model of %d bits and %d inputs, want %d to %d bits and no inputs", s.Bits, s.Inputs, text.MinBits, text.MaxBits)
		}
	default:
		return refuse("kind %.40q, want %s, %s or %s", string(s.Kind), Logistic, MLP, Text)
	}
	if has := len(s.Hidden); (s.Kind == MLP) != (has > 0) || has > MaxLayers {
		return refuse("a %s model with %d hidden layers; an mlp has 1 to %d, others none", s.Kind, has, MaxLayers)
	}
	for _, w := range s.Hidden {
		if w < 1 || w > MaxHidden {
			return refuse("a hidden layer of %d, want 1 to %d", w, MaxHidden)
		}
	}
	if n := s.Size(); n > MaxParameters {
		return refuse("%d parameters, at most %d fit", n, MaxParameters)
	}
	return nil
}

// Outputs returns how many scores the model gives a row.
func (s Spec) Outputs() int {
	if len(s.Classes) == 2 {
		return 1
	}
	return len(s.Classes)
}

// Size returns the number of parameters.
func (s Spec) Size() int {
	size := 0
	for _, l := range s.layers() {
		size += l.size()
	}
	return size
}

// layer is one layer's place among the parameters.
type layer struct {
	in, out int
	at      int // of its weights; its biases follow
}

func (l layer) size() int      { return l.out * (l.in + 1) }
func (l layer) bias() int      { return l.at + l.in*l.out }
func (l layer) end() int       { return l.at + l.size() }
func (l layer) String() string { return fmt.Sprintf("%d→%d", l.in, l.out) }

func (s Spec) layers() []layer {
	in, at := s.Inputs, 0
	if s.Kind == Text {
		in = 1 << s.Bits
	}
	var out []layer
	for _, width := range append(append([]int(nil), s.Hidden...), s.Outputs()) {
		l := layer{in, width, at}
		out = append(out, l)
		in, at = width, l.end()
	}
	return out
}

// Start returns the parameters to begin with. Layers before a ReLU are drawn evenly
// from ±√(6/inputs) (He et al., "Delving deep into rectifiers", 2015); the last layer
// and all biases are zero, so that the first answer is that all classes are as likely.
func (s Spec) Start(seed uint64) []float32 {
	params := make([]float32, s.Size())
	r := repro.NewRandom(seed)
	layers := s.layers()
	for _, l := range layers[:len(layers)-1] {
		reach := float32(math.Sqrt(6 / float64(l.in)))
		for i := l.at; i < l.bias(); i++ {
			even := float32(int32(r.Uint64()>>40)-1<<23) / (1 << 23) // 24 bits: exact
			params[i] = float32(even * reach)
		}
	}
	return params
}

// checkParams refuses a vector that cannot be the model's parameters.
func (s Spec) checkParams(params []float32) error {
	if err := s.Check(); err != nil {
		return err
	}
	if want := s.Size(); len(params) != want {
		return fmt.Errorf("%w: %d parameters, the model has %d", ErrSpec, len(params), want)
	}
	if err := repro.Finite(params); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	return nil
}
