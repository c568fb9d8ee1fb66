package grammar

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// letters is a vocabulary of all bytes, of some longer pieces, and of one token
// that ends an answer, the last.
func letters() *Vocabulary {
	var pieces [][]byte
	for b := range 256 {
		pieces = append(pieces, []byte{byte(b)})
	}
	for _, p := range []string{`{"`, `":`, `": "`, `",`, `"}`, "true", "name", "[[", "]]", "12", "ab", "abc", "é", "\xc3", "日本", "  "} {
		pieces = append(pieces, []byte(p))
	}
	pieces = append(pieces, nil, []byte("</s>"))
	return NewVocabulary(pieces, []int32{int32(len(pieces) - 1)})
}

var vocab = letters()

// matches reports whether a text is in a form, as an answer byte by byte.
func matches(t *testing.T, g *Grammar, text string) bool {
	t.Helper()
	m, err := NewMatcher(g, vocab)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(text) {
		if m.Accept(int32(text[i])) != nil {
			return false
		}
	}
	return m.now.ends()
}

func TestRegex(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		`abc`, `a*b+c?`, `(a|bc)*d`, `[a-c]{2,4}`, `[^a-z]`, `.`, `é|日本`, `[à-ÿ]+`, `(?i)straße`, `^\d{4}-\d{2}$`, `\w+@\w+`, `(?s).{0,3}`, `[\x{800}-\x{10ffff}]`, `a{0,200}`, ``,
	} {
		g, err := FromRegex(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		whole := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
		for _, text := range []string{"", "a", "abc", "aabbc", "bcd", "abcd", "ABC", "d", "ab", "abca", "é", "日本", "ÿàè", "STRASSE", "straße", "STRAßE", "2024-05", "x@y", "\n", "ab\n", "🙂", strings.Repeat("a", 200), strings.Repeat("a", 201)} {
			if got, want := matches(t, g, text), whole.MatchString(text); got != want {
				t.Errorf("%s: %q is in the form: %v, regexp says %v", pattern, text, got, want)
			}
		}
	}
}

// UTF-8 is told byte by byte: a range of characters is those and nothing else.
func TestRunes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Int32Range(0, 0x10ffff).Draw(t, "lo")
		hi := rapid.Int32Range(lo, 0x10ffff).Draw(t, "hi")
		g, err := compile([]node{runes(lo, hi)}, Source{})
		if err != nil {
			t.Fatal(err)
		}
		r := rapid.OneOf(rapid.Int32Range(0, 0x10ffff), rapid.SampledFrom([]int32{lo, hi, lo - 1, hi + 1})).Draw(t, "r")
		if r < 0 || r > 0x10ffff || r >= 0xd800 && r <= 0xdfff {
			return
		}
		m, err := NewMatcher(g, vocab)
		if errors.Is(err, ErrForm) {
			return // nothing but surrogates
		}
		got := true
		for _, b := range []byte(string(r)) {
			got = got && m.Accept(int32(b)) == nil
		}
		if want := lo <= r && r <= hi; got && m.now.ends() != want {
			t.Fatalf("%U in %U to %U: %v", r, lo, hi, got)
		}
	})
}

var schemas = map[string]string{
	"weather":   `{"type":"object","properties":{"city":{"type":"string","minLength":1},"days":{"type":"array","items":{"type":"object","properties":{"high":{"type":"integer"},"sky":{"enum":["clear","rain"]}},"required":["high","sky"],"additionalProperties":false},"minItems":1,"maxItems":3}},"required":["city","days"],"additionalProperties":false}`,
	"optional":  `{"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"},"c":{"type":"number"},"d":{"const":"x\"y"}},"required":["c"]}`,
	"none":      `{"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"boolean"}}}`,
	"tree":      `{"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"}`,
	"pattern":   `{"type":"array","items":{"type":"string","pattern":"^[A-Z\"\\\\]{2}[0-9]+$"},"minItems":2}`,
	"anything":  `{}`,
	"object":    `{"type":"object"}`,
	"numbers":   `{"type":"object","additionalProperties":{"type":["number","null"]}}`,
	"length":    `{"type":"string","minLength":2,"maxLength":5}`,
	"empty":     `{"type":"array","items":{"type":"null"},"maxItems":0}`,
	"constants": `{"enum":[1,"two",[3,{"four":null}],true]}`,
}

// Whatever tokens are drawn from what a mask allows, an answer that ends is in its
// schema, by the word of another program.
func TestSchemaAnswers(t *testing.T) {
	t.Parallel()
	for name, text := range schemas {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, err := FromSchema([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			c := jsonschema.NewCompiler()
			if err := c.AddResource("schema.json", doc); err != nil {
				t.Fatal(err)
			}
			judge := c.MustCompile("schema.json")
			ended := 0
			for seed := range uint64(60) {
				answer, done := draw(t, g, seed)
				if !done {
					continue
				}
				ended++
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
				if err == nil {
					err = judge.Validate(v)
				}
				if err != nil {
					t.Fatalf("seed %d: %s: %v", seed, answer, err)
				}
			}
			if ended < 20 {
				t.Errorf("%d of 60 answers came to an end", ended)
			}
		})
	}
}

// draw draws tokens at random, those that end things more often.
func draw(t *testing.T, g *Grammar, seed uint64) (answer string, done bool) {
	t.Helper()
	m, err := NewMatcher(g, vocab)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for range 4000 {
		logits := make([]float32, len(vocab.pieces))
		if err := m.Mask(logits); err != nil {
			t.Fatalf("after %q: %v", answer, err)
		}
		var may, ends []int32
		for id, v := range logits {
			if math.IsInf(float64(v), -1) {
				continue
			}
			may = append(may, int32(id))
			if vocab.stops(int32(id)) || strings.ContainsAny(string(vocab.piece(int32(id))), `"]}`) {
				ends = append(ends, int32(id))
			}
		}
		from := may
		if len(ends) > 0 && r.IntN(3) > 0 {
			from = ends
		}
		id := from[r.IntN(len(from))]
		if vocab.stops(id) {
			return answer, true
		}
		if err := m.Accept(id); err != nil {
			t.Fatalf("after %q: %v", answer, err)
		}
		answer += string(vocab.piece(id))
	}
	return answer, false
}

// What a mask forbids, Accept refuses, and the other way round: byte by byte and
// token by token there is one truth.
func TestMaskIsAccept(t *testing.T) {
	t.Parallel()
	for name, text := range schemas {
		g, err := FromSchema([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		m, _ := NewMatcher(g, vocab)
		r := rand.New(rand.NewPCG(7, 7))
		for range 60 {
			logits := make([]float32, len(vocab.pieces))
			if m.Mask(logits) != nil {
				break
			}
			var may []int32
			for id, v := range logits {
				other := *m
				ok := other.Accept(int32(id)) == nil
				if vocab.stops(int32(id)) {
					ok = m.now.ends()
				}
				if ok != (v == 0) {
					t.Fatalf("%s: token %q may come: the mask says %v", name, vocab.piece(int32(id)), v == 0)
				}
				if v == 0 && !vocab.stops(int32(id)) {
					may = append(may, int32(id))
				}
			}
			if len(may) == 0 {
				break
			}
			if err := m.Accept(may[r.IntN(len(may))]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSchemaTexts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, yes, no string }{
		{"optional", `{"a":true,"b":null,"c":1.5e3,"d":"x\"y"}`, `{"a":true}`},
		{"optional", `{"c": 0}`, `{"c":0,"a":true}`},
		{"optional", `{"b":null, "c":-1}`, `{,"c":1}`},
		{"none", `{}`, `{"a":true,}`},
		{"none", `{"b":false}`, `{"b":false,"a":true}`},
		{"tree", `{"v":1,"next":{"v":2,"next":null}}`, `{"v":1,"next":{}}`},
		{"pattern", `["AB1","\"\\7"]`, `["AB1"]`},
		{"anything", `[{"é":[-0.5,"\u0001\n"]},null]`, `[01]`},
		{"anything", `"日本"`, `"a` + "\n" + `b"`},
		{"length", `"ab\"d"`, `"a"`},
		{"length", `"日本"`, `"abcdef"`},
		{"constants", `[3,{"four":null}]`, `"two`},
		{"weather", `{"city":"X","days":[{"high":3,"sky":"rain"}]}`, `{"city":"","days":[]}`},
	} {
		g, err := FromSchema([]byte(schemas[c.schema]))
		if err != nil {
			t.Fatal(err)
		}
		if !matches(t, g, c.yes) {
			t.Errorf("%s: %s is not in the form", c.schema, c.yes)
		}
		if matches(t, g, c.no) {
			t.Errorf("%s: %s is in the form", c.schema, c.no)
		}
	}
}

// Each refusal names the place and what is wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		`{`:                                 "not JSON",
		`3`:                                 "no schema",
		`{"type":"text"}`:                   `no type "text"`,
		`{"type":"string","x":1}`:           `keyword "x"`,
		`{"type":"number","minimum":1}`:     `keyword "minimum"`,
		`{"oneOf":[]}`:                      `keyword "oneOf"`,
		`{"properties":{}}`:                 `keyword "properties"`,
		`{"$ref":"#/$defs/none"}`:           "no such place",
		`{"$ref":"http://x/y"}`:             "same schema",
		`{"$ref":"#/a~2"}`:                  "same schema",
		`{"anyOf":[{"$ref":"#/anyOf/00"}]}`: "no such place",
		`{"$ref":"#` + strings.Repeat("/a", maxDepth+1) + `"}`:                                     "names deep",
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"strin"}}}}`:           "#/properties/a/items",
		`{"type":"object","properties":{},"required":["b"]}`:                                       `"b"`,
		`{"type":"string","maxLength":5000}`:                                                       "maxLength",
		`{"type":"string","minLength":3,"maxLength":2}`:                                            "minLength",
		`{"type":"string","pattern":"("}`:                                                          "pattern",
		`{"type":"string","pattern":"a\\bb"}`:                                                      "within a pattern",
		`{"anyOf":[` + strings.Repeat(`{"type":"string","pattern":"[a-f0-9]{900}"},`, 30) + `{}]}`: "too large",
		`{"enum":[]}`: "no value",
	} {
		_, err := FromSchema([]byte(schema))
		if !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", schema, err, want)
		}
	}
	for _, pattern := range []string{"(", `\b`, "a$b", strings.Repeat("a", maxPattern+1), `[a-z]{1000}{1000}`} {
		if _, err := FromRegex(pattern); !errors.Is(err, ErrForm) {
			t.Errorf("%.20s: %v", pattern, err)
		}
	}
}

// Forms that nothing is in, that call themselves, or that can be read in very many
// ways end in an error, not in a loop.
func TestHostileForms(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"$ref":"#"}`, `{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"anyOf":[]}`,
	} {
		g, err := FromSchema([]byte(schema))
		if err == nil {
			_, err = NewMatcher(g, vocab)
		}
		if !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", schema, err)
		}
	}
	for _, pattern := range []string{`(a?){1000}(a*)*b`, `((a*)*)*`, `(.*.*.*.*){30}x`, strings.Repeat(`\pL`, 1365)} {
		g, err := FromRegex(pattern)
		if err != nil {
			continue // too large is an answer too
		}
		m, err := NewMatcher(g, vocab)
		for range 200 {
			if err == nil {
				err = m.Mask(make([]float32, len(vocab.pieces)))
			}
			if err == nil {
				err = m.Accept('a')
			}
		}
		if err != nil && !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", pattern, err)
		}
		if len(m.stateOf) > maxStates {
			t.Errorf("%s: %d states are kept", pattern, len(m.stateOf))
		}
	}
}

// A schema that refers to its places thousands of times is read once, not once for
// each of them. Not parallel: it counts what is allocated.
func TestReferencesAreBounded(t *testing.T) {
	const n = 1200
	var schema strings.Builder
	schema.WriteString(`{"$defs":{`)
	for i := range n {
		fmt.Fprintf(&schema, `"%d":{"type":"null"},`, i)
	}
	schema.WriteString(`"last":{}},"anyOf":[`)
	for i := range n {
		fmt.Fprintf(&schema, `{"$ref":"#/$defs/%d"},`, i)
	}
	schema.WriteString(`{}]}`)
	allocations := testing.AllocsPerRun(1, func() {
		if _, err := FromSchema([]byte(schema.String())); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 200*n {
		t.Errorf("%.0f allocations for a schema of %d bytes with %d references", allocations, schema.Len(), n)
	} else {
		t.Logf("%.0f allocations", allocations)
	}
}

// Classes of characters that are short to write do not take memory before they are
// refused, however many patterns they are spread over.
func TestClassesAreBounded(t *testing.T) {
	t.Parallel()
	c := &schemaCompiler{room: maxCode}
	for i := range 64 {
		_, err := regex(strings.Repeat(`\pL`, 50), runes, &c.room)
		if err != nil {
			if i == 0 {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("64 patterns with 50 classes of all letters each are made into nodes")
}

func FuzzSchema(f *testing.F) {
	for _, s := range schemas {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		g, err := FromSchema(schema)
		if err == nil {
			var m *Matcher
			if m, err = NewMatcher(g, vocab); err == nil {
				err = m.Mask(make([]float32, len(vocab.pieces)))
			}
		}
		if err != nil && !errors.Is(err, ErrForm) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

// A pattern means here what it means in package regexp.
func FuzzRegex(f *testing.F) {
	f.Add(`(a|b)*[^é]{2,3}`, "ab")
	f.Add(`\d+(\.\d{1,2})?`, "1.25")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		g, err := FromRegex(pattern)
		whole, wrong := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil || wrong != nil || !utf8.ValidString(text) || len(text) > 200 {
			return
		}
		m, err := NewMatcher(g, vocab)
		in := err == nil
		for i := 0; i < len(text) && in; i++ {
			if err = m.Accept(int32(text[i])); err != nil {
				in = false
			}
		}
		if err != nil && strings.Contains(err.Error(), "too costly") {
			return
		}
		if in = in && m.now.ends(); in != whole.MatchString(text) {
			t.Errorf("%q: %q is in the form: %v", pattern, text, in)
		}
	})
}
