package openai

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const twoAnswers = `{"id":0,"text":"a \"b\" \\ é\n\u0001 \ud83d\ude00 🙂","finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n" +
	`{"id":1,"text":"","finish_reason":"length"}` + "\n"

// However a result is cut into pieces, what is read of it is the same.
func TestGrowing(t *testing.T) {
	t.Parallel()
	want := "a \"b\" \\ é\n\x01 😀 🙂"
	for size := 1; size <= len(twoAnswers); size++ {
		g := newGrowing(2)
		var text [2]strings.Builder
		ended := 0
		for at := 0; at < len(twoAnswers); at += size {
			deltas, err := g.add([]byte(twoAnswers[at:min(at+size, len(twoAnswers))]))
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			for _, d := range deltas {
				text[d.index].WriteString(d.text)
				if d.done != nil {
					ended++
				}
			}
			if !g.begins([]byte(twoAnswers)) || g.begins([]byte(twoAnswers[:g.seen-1])) || g.begins([]byte("x"+twoAnswers[1:])) {
				t.Fatalf("pieces of %d: it does not know its own beginning", size)
			}
		}
		if text[0].String() != want || text[1].String() != "" || ended != 2 {
			t.Errorf("pieces of %d: %q, %q, %d ended", size, text[0].String(), text[1].String(), ended)
		}
	}
}

// explained has a character of two tokens, a stop string of which a token was held
// back, and the token that ends the answer.
const explained = `{"id":0,"logprobs":[{"logprob":-1,"bytes":"YQ==","top":[[5,-1,"YQ=="]],"text":"a"},{"logprob":-2,"bytes":"w6k=","top":[],"text":""},{"logprob":-3,"bytes":"Yg==","top":[],"text":"éb"},` +
	`{"logprob":-4,"bytes":"Yw==","top":[],"text":""},{"logprob":-5,"bytes":"","top":[],"text":""}],"text":"aébc","finish_reason":"stop"}` + "\n"

// Logprobs come with the text of their tokens, however the result is cut.
func TestGrowingLogprobs(t *testing.T) {
	t.Parallel()
	for size := 1; size <= len(explained); size++ {
		g := newGrowing(1)
		var got []string
		for at := 0; at < len(explained); at += size {
			deltas, err := g.add([]byte(explained[at:min(at+size, len(explained))]))
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			for _, d := range deltas {
				var line strings.Builder
				line.WriteString(fmt.Sprintf("%s from %d:", d.text, d.offset))
				for _, l := range d.logprobs {
					line.WriteString(fmt.Sprint(" ", l.Logprob))
				}
				got = append(got, line.String())
			}
		}
		if want := []string{"a from 0: -1", "éb from 1: -2 -3", "c from 4: -4"}; !slices.Equal(got, want) {
			t.Errorf("pieces of %d: %q, want %q", size, got, want)
		}
	}
}

func TestGrowingRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"id":1,"text":"x","finish_reason":"stop"}` + "\n", // not the line's
		strings.Repeat(" ", 600),
		`{"id":0,"text":"\x and so on`,
		`{"id":0,"logprobs":[{"text":"y"}],"text":"x","finish_reason":"stop"}` + "\n", // its tokens have another text
		`{"id":0,"logprobs":[{"text":"x"}` + strings.Repeat(" ", 70_000),
		`{"id":0,"logprobs":[{"text":3}`,
		`{"id":0,"logprobs":[}`,
		`{"id":0,"text":"x"}` + "\n",                       // does not end
		`{"id":0,"text":"x","finish_reason":"stop"` + "\n", // no JSON
		`{"id":0,"text":"","finish_reason":"stop"}` + "\n" + `{"id":1,"text":"","finish_reason":"stop"}` + "\n", // too many
	} {
		if d, err := newGrowing(1).add([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, d)
		}
	}
}

// FuzzGrowing cuts any text, as JSON, in two.
func FuzzGrowing(f *testing.F) {
	f.Add("a\"b\\c\n🙂\x00", uint(7))
	f.Add("", uint(0))
	f.Fuzz(func(t *testing.T, text string, cut uint) {
		text = strings.ToValidUTF8(text, "?")
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			t.Skip()
		}
		whole := `{"id":0,"text":` + string(quoted) + `,"finish_reason":"stop"}` + "\n"
		at := int(cut % uint(len(whole)))
		g := newGrowing(1)
		var got strings.Builder
		for _, piece := range []string{whole[:at], whole[at:]} {
			deltas, err := g.add([]byte(piece))
			if err != nil {
				t.Fatalf("%s: %v", whole, err)
			}
			for _, d := range deltas {
				if strings.ContainsRune(d.text, '\uFFFD') && !strings.ContainsRune(text, '\uFFFD') {
					t.Errorf("%q is not whole characters", d.text)
				}
				got.WriteString(d.text)
			}
		}
		if got.String() != text || g.line != 1 {
			t.Errorf("%q, want %q", got.String(), text)
		}
	})
}

// FuzzGrowingHostile reads what a node made up.
func FuzzGrowingHostile(f *testing.F) {
	f.Add([]byte(twoAnswers))
	f.Add([]byte(`{"text":"\u`))
	f.Add([]byte(explained))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newGrowing(2)
		for i := range data {
			deltas, err := g.add(data[i : i+1])
			if err != nil {
				return
			}
			for _, d := range deltas {
				if d.index < 0 || d.index > 1 {
					t.Fatalf("answer %d of 2", d.index)
				}
				if _, err := json.Marshal(d.text); err != nil {
					t.Fatalf("%q: %v", d.text, err)
				}
			}
		}
	})
}
