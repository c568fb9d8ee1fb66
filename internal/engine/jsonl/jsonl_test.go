package jsonl

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/engine"
)

func TestLines(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                        "",
		"\n \n\t\r\n":             "",
		"a":                       "1:a",
		"\uFEFFa\nb\r\n":          "1:a 2:b",
		"\n\na\n\r\n  \nb\n\n\n":  "3:a 6:b",
		" a \n":                   "1: a ",
		"a\n\uFEFF\n":             "1:a 2:\uFEFF", // a mark is one at the start alone
		"a\rb\n":                  "1:a\rb",
		"\uFEFF\n{\"text\":\"\"}": `2:{"text":""}`,
	} {
		var got []string
		for n, line := range Lines([]byte(in)) {
			got = append(got, fmt.Sprintf("%d:%s", n, line))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for n := range Lines([]byte("a\nb\nc")) {
		if n == 2 {
			break // a reader may stop
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	var into struct {
		N int      `json:"n"`
		O struct{} `json:"o"`
	}
	for line, want := range map[string]string{
		`{"n":`:         "input refused: no valid JSON at byte 6 of the line",
		`{"n":"one"}`:   `input refused: "n" is a JSON string`,
		`{"o":{"m":1}}`: `input refused: the field "o.m" is not known`,
		`[]`:            `input refused: the line is a JSON array`,
		`{"m":1}`:       `input refused: the field "m" is not known`,
		`{"n":1,"n":1, "and it is longer than what is allowed for one": 1}`: "limit exceeded: 65 bytes, at most 40",
	} {
		err := Decode([]byte(line), 40, &into, json.RejectUnknownMembers(true))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if err := Decode([]byte(`{"n":7}`), 40, &into); err != nil || into.N != 7 {
		t.Errorf("%d, %v", into.N, err)
	}
	if !errors.Is(ErrEmpty, engine.ErrInput) {
		t.Error("no lines are no refused input")
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{`"a"`: true, `7`: true, `null`: false, `[1]`: false, `{}`: false, `"` + strings.Repeat("x", MaxID) + `"`: false} {
		if err := CheckID(jsontext.Value(id)); (err == nil) != ok {
			t.Errorf("%.20s: %v", id, err)
		}
	}
	if err := CheckID(nil); err != nil {
		t.Error(err)
	}
}
