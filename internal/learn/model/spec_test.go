package model

import (
	"errors"
	"strings"
	"testing"
)

func TestWrongSpecs(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]Spec{
		"1 classes":            {Kind: Logistic, Inputs: 1, Classes: classes(1)},
		"named twice":          {Kind: Logistic, Inputs: 1, Classes: []string{"a", "a"}},
		"label":                {Kind: Logistic, Inputs: 1, Classes: []string{"a", ""}},
		"kind \"tree\"":        {Kind: "tree", Inputs: 1, Classes: classes(2)},
		"0 inputs":             {Kind: Logistic, Classes: classes(2)},
		"an mlp has 1 to 8":    {Kind: MLP, Inputs: 1, Classes: classes(2)},
		"others none":          {Kind: Logistic, Inputs: 1, Hidden: []int{1}, Classes: classes(2)},
		"hidden layer of 0":    {Kind: MLP, Inputs: 1, Hidden: []int{0}, Classes: classes(2)},
		"9 bits":               {Kind: Text, Bits: 9, Classes: classes(2)},
		"parameters, at most ": {Kind: MLP, Inputs: MaxInputs, Hidden: []int{MaxHidden}, Classes: classes(2)},
	} {
		if err := s.Check(); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}
