package text

import (
	"fmt"
	"slices"
	"sync"

	"atoll/internal/repro"
)

// Model is a trained classifier. It is immutable and safe for concurrent use.
type Model struct {
	labels  []string  // ascending
	bias    []float32 // one per label
	bits    int       // log2 of the number of buckets
	buckets []uint32  // of each row, ascending
	scales  []float32 // of each row
	weights []int8    // rows × labels

	rows []int32 // bucket -> row, or -1
	pool sync.Pool
}

// newModel completes a model whose stored fields are set.
func newModel(m *Model) *Model {
	m.rows = make([]int32, 1<<m.bits)
	for i := range m.rows {
		m.rows[i] = -1
	}
	for row, b := range m.buckets {
		m.rows[b] = int32(row)
	}
	m.pool.New = func() any {
		return &scratch{
			slot:   make([]int32, len(m.buckets)),
			scores: make([]float32, len(m.labels)),
			probs:  make([]float32, len(m.labels)),
		}
	}
	return m
}

// Labels returns the labels that the model knows, in ascending order.
func (m *Model) Labels() []string { return slices.Clone(m.labels) }

// Class is a label with its probability.
type Class struct {
	Label string
	P     PPM
}

// Reason is a piece of the text that spoke for the first class and against the
// second: a word, with what its letters contributed, or two neighbouring ones.
type Reason struct {
	Feature string // folded: lower case, digits as 0
	Weight  Micro  // its share of the difference between the two classes' scores
}

// Result is the decision on one text.
type Result struct {
	// Classes holds the most probable classes, best first. Equal scores are
	// ordered by label.
	Classes []Class
	// Reasons holds what decided for Classes[0], heaviest first. It is empty
	// where only the classes' overall frequency decided.
	Reasons []Reason
}

// Classify decides on one text and returns at most top classes and at most
// reasons reasons. It fails if the text is longer than MaxText bytes.
func (m *Model) Classify(text string, top, reasons int) (Result, error) {
	if len(text) > MaxText {
		return Result{}, fmt.Errorf("text: %d bytes, over the limit of %d", len(text), MaxText)
	}
	s := m.pool.Get().(*scratch)
	defer m.pool.Put(s)
	if err := m.score(s, text); err != nil {
		return Result{}, err
	}
	best, second := m.bestTwo(s.scores)
	var res Result
	if reasons > 0 {
		res.Reasons = m.why(s, best, second, reasons)
	}
	if err := repro.Softmax(s.probs, s.scores); err != nil {
		return Result{}, fmt.Errorf("text: %w", err)
	}
	res.Classes = m.classes(s, best, top)
	return res, nil
}

// score sets s.scores: the bias, and then the rows of the text's features in
// the order of s.ents.
func (m *Model) score(s *scratch, text string) error {
	if err := s.vector(text, m.rows); err != nil {
		return err
	}
	copy(s.scores, m.bias)
	k := len(m.labels)
	for _, e := range s.ents {
		at := int(e.row) * k
		repro.AddScaledInt8(s.scores, float32(e.value*m.scales[e.row]), m.weights[at:at+k])
	}
	return repro.Finite(s.scores)
}

// bestTwo returns the indexes of the highest two scores; of equal ones the
// lower index.
func (m *Model) bestTwo(scores []float32) (best, second int) {
	second = -1
	for i := 1; i < len(scores); i++ {
		switch {
		case scores[i] > scores[best]:
			best, second = i, best
		case second < 0 || scores[i] > scores[second]:
			second = i
		}
	}
	return best, second
}

func (m *Model) classes(s *scratch, best, top int) []Class {
	top = min(top, len(m.labels))
	if top <= 0 {
		return nil
	}
	if top == 1 {
		return []Class{{m.labels[best], ppm(s.probs[best])}}
	}
	order := make([]int, len(m.labels))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case s.scores[a] > s.scores[b]:
			return -1
		case s.scores[a] < s.scores[b]:
			return 1
		}
		return a - b
	})
	out := make([]Class, top)
	for i, k := range order[:top] {
		out[i] = Class{m.labels[k], ppm(s.probs[k])}
	}
	return out
}
