package learn_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"atoll/internal/learn"
)

func ExampleExamples() {
	rows := &learn.Examples{Width: 2, X: []float32{1, 2, 3, 4, 5, 6}, Labels: []int32{0, 1, 1}, Units: []uint64{7, 7, 8}}
	few := rows.Pick([]int{2, 0})
	fmt.Println(few.Row(0), few.Row(1), few.Labels, few.Units)
	fmt.Println(rows.CheckTrainable(2))
	fmt.Println(rows.Pick([]int{1, 2}).CheckTrainable(2))
	// Output:
	// [5 6] [1 2] [1 0] [8 7]
	// <nil>
	// these rows cannot be trained on: all 2 have the same label (class 1), so there is nothing to tell apart
}

func TestAppend(t *testing.T) {
	t.Parallel()
	numbers := &learn.Examples{Width: 1, X: []float32{1, 2}, Labels: []int32{0, 1}}
	var all learn.Examples
	for range 2 {
		if err := all.Append(numbers); err != nil {
			t.Fatal(err)
		}
	}
	if all.Len() != 4 || !slices.Equal(all.X, []float32{1, 2, 1, 2}) || all.Check(2) != nil {
		t.Errorf("%+v", all)
	}
	for name, other := range map[string]*learn.Examples{
		"wider":      {Width: 2, X: []float32{1, 2}, Labels: []int32{0}},
		"texts":      {Texts: []string{"a"}, Labels: []int32{0}},
		"with units": {Width: 1, X: []float32{1}, Labels: []int32{0}, Units: []uint64{1}},
	} {
		if err := all.Append(other); !errors.Is(err, learn.ErrExamples) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*learn.Examples{
		"there are none":                    {},
		"2 labels beside 1 numbers":         {Width: 1, X: []float32{1}, Labels: []int32{0, 1}},
		"0 texts":                           {Labels: []int32{0}},
		"1 texts":                           {Width: 1, X: []float32{1}, Texts: []string{"a"}, Labels: []int32{0}},
		"row 1: element 0 is NaN":           {Width: 1, X: []float32{1, float32(math.NaN())}, Labels: []int32{0, 1}},
		"row 0 has class -1":                {Width: 1, X: []float32{1}, Labels: []int32{-1}},
		"class 2, there are classes 0 to 1": {Texts: []string{"a"}, Labels: []int32{2}},
	} {
		if err := e.Check(2); !errors.Is(err, learn.ErrExamples) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
