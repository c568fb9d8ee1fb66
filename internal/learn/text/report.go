package text

import "fmt"

// Report says how well a model did on examples that it was not trained on. All
// shares are integers, so that equal runs give equal reports.
type Report struct {
	Examples  int          `json:"examples"`      // how many were tried
	Accuracy  PPM          `json:"accuracy_ppm"`  // share that was right
	Majority  PPM          `json:"majority_ppm"`  // what always naming the most frequent label would score
	MacroF1   PPM          `json:"macro_f1_ppm"`  // mean F1 of the labels that occur
	Certainty PPM          `json:"certainty_ppm"` // mean probability of the label named; near Accuracy if probabilities can be believed
	PerClass  []ClassScore `json:"classes"`       // by label, ascending
}

// ClassScore is a Report's line on one label.
type ClassScore struct {
	Label     string `json:"label"`
	Examples  int    `json:"examples"` // that have this label
	Precision PPM    `json:"precision_ppm"`
	Recall    PPM    `json:"recall_ppm"`
	F1        PPM    `json:"f1_ppm"`
}

// Evaluate tries the model on examples. One with a label that the model does not
// know counts as wrong.
func (m *Model) Evaluate(examples []Example) (Report, error) {
	index := make(map[string]int, len(m.labels))
	for i, l := range m.labels {
		index[l] = i
	}
	named, have, hits := make([]int, len(m.labels)), make([]int, len(m.labels)), make([]int, len(m.labels))
	other := make(map[string]int) // labels that the model does not know
	right, certain := 0, int64(0)
	for i, x := range examples {
		res, err := m.Classify(x.Text, 1, 0)
		if err != nil {
			return Report{}, fmt.Errorf("example %d: %w", i+1, err)
		}
		got := index[res.Classes[0].Label]
		named[got]++
		certain += int64(res.Classes[0].P)
		want, known := index[x.Label]
		if !known {
			other[x.Label]++
			continue
		}
		have[want]++
		if got == want {
			hits[got]++
			right++
		}
	}
	rep := Report{Examples: len(examples), Accuracy: share(right, len(examples))}
	if len(examples) > 0 {
		rep.Certainty = PPM(certain / int64(len(examples)))
	}
	most, occur, sum := 0, len(other), int64(0)
	for _, n := range other {
		most = max(most, n)
	}
	for i, l := range m.labels {
		c := ClassScore{l, have[i], share(hits[i], named[i]), share(hits[i], have[i]), share(2*hits[i], named[i]+have[i])}
		rep.PerClass = append(rep.PerClass, c)
		most = max(most, have[i])
		if have[i] > 0 {
			occur++
			sum += int64(c.F1)
		}
	}
	rep.Majority = share(most, len(examples))
	if occur > 0 {
		rep.MacroF1 = PPM(sum / int64(occur))
	}
	return rep, nil
}

// share returns part/whole in parts per million, rounded down; 0 of nothing is 0.
func share(part, whole int) PPM {
	if whole == 0 {
		return 0
	}
	return PPM(int64(part) * 1_000_000 / int64(whole))
}
