// Package corpus supplies labelled texts: made by a grammar, or read from a
// user's file.
//
// Generate writes requests to the support desk of a bank, each with the intent
// that it should be routed to. The grammar is rich on purpose and noisy on
// purpose: several registers, synonyms, typing errors, talk beside the point, a
// second concern mentioned in passing, and phrases that fit two intents, so that
// a classifier can be good at it but not perfect. Everything in it is invented;
// no person, company or product is named.
//
// Read takes CSV and JSON Lines with strict errors that name the line.
package corpus

import (
	"strings"
	"unicode/utf8"

	"atoll/internal/learn/text"
	"atoll/internal/repro"
)

// Example is a text with its label.
type Example = text.Example

// How often, in percent of the texts, each kind of noise is present.
const (
	ambiguousRate = 8  // the request fits another intent as well
	secondRate    = 13 // another concern is mentioned too
	foreignRate   = 6  // in German or French
	greetingRate  = 45
	storyRate     = 40 // talk beside the point
	closingRate   = 40
	typoRate      = 35 // one to three typing errors
	sloppyRate    = 30 // no capitals, little punctuation
	shoutRate     = 3  // all capitals
)

// Generate returns n requests. The result is a function of seed and n's first
// requests do not depend on n. Different seeds give different requests, with
// chance repetitions of short ones.
func Generate(seed uint64, n int) []Example {
	out := make([]Example, 0, max(n, 0))
	for i := range n {
		// Each request has a stream of its own, so that a change in one does
		// not move all later ones.
		g := &generator{r: repro.NewRandom(repro.Mix(seed) + repro.Mix(uint64(i)+1))}
		out = append(out, g.request())
	}
	return out
}

// Intents returns the labels that Generate uses.
func Intents() []string {
	var out []string
	for _, it := range intents {
		out = append(out, it.label)
	}
	return out
}

type generator struct{ r *repro.Random }

func (g *generator) chance(percent int) bool { return g.r.Below(100) < percent }

func (g *generator) pick(options []string) string {
	return g.expand(options[g.r.Below(len(options))])
}

// draw chooses an intent by its weight.
func (g *generator) draw() intent {
	total := 0
	for _, it := range intents {
		total += it.weight
	}
	at := g.r.Below(total)
	for _, it := range intents {
		if at -= it.weight; at < 0 {
			return it
		}
	}
	return intents[0] // unreachable: at starts below the sum of the weights
}

func (g *generator) request() Example {
	it := g.draw()
	if g.chance(foreignRate) && len(it.foreign) > 0 {
		return Example{Text: g.styled(g.pick(it.foreign)), Label: it.label}
	}
	core := g.pick(it.says)
	if g.chance(ambiguousRate) && len(it.vague) > 0 {
		core = g.pick(it.vague)
	}
	var parts []string
	if g.chance(greetingRate) {
		parts = append(parts, g.pick(greetings))
	}
	story := ""
	if g.chance(storyRate) {
		story = g.pick(stories)
	}
	before := g.chance(50)
	if story != "" && before {
		parts = append(parts, story)
	}
	parts = append(parts, core)
	if story != "" && !before {
		parts = append(parts, story)
	}
	if g.chance(secondRate) {
		if other := g.draw(); other.label != it.label {
			parts = append(parts, g.pick(passing)+" "+g.pick(other.says))
		}
	}
	if g.chance(closingRate) {
		parts = append(parts, g.pick(closings))
	}
	return Example{Text: g.styled(sentences(parts)), Label: it.label}
}

// sentences joins parts, each with a capital and a full stop of its own.
func sentences(parts []string) string {
	for i, p := range parts {
		_, first := utf8.DecodeRuneInString(p)
		p = strings.ToUpper(p[:first]) + p[first:]
		if !strings.ContainsAny(p[len(p)-1:], ".?!,") {
			p += "."
		}
		parts[i] = p
	}
	return strings.Join(parts, " ")
}

// styled puts the writer's habits over a text.
func (g *generator) styled(s string) string {
	if g.chance(typoRate) {
		for range 1 + g.r.Below(3) {
			s = g.typo(s)
		}
	}
	switch {
	case g.chance(shoutRate):
		return strings.ToUpper(s)
	case g.chance(sloppyRate):
		s = strings.NewReplacer(",", "", "'", "", ". ", " ").Replace(strings.ToLower(s))
		return strings.TrimRight(s, ".")
	}
	return s
}

// typo makes one mistake inside a word: two letters swapped, one left out, or
// one typed twice.
func (g *generator) typo(s string) string {
	b := []byte(s)
	at := g.r.Below(len(b))
	if at == 0 || at+1 >= len(b) || !letter(b[at-1]) || !letter(b[at]) || !letter(b[at+1]) {
		return s
	}
	switch g.r.Below(3) {
	case 0:
		b[at], b[at+1] = b[at+1], b[at]
		return string(b)
	case 1:
		return s[:at] + s[at+1:]
	}
	return s[:at] + s[at:at+1] + s[at:]
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// expand writes out one phrase of the grammar: [a|b] is one of the options,
// which may nest, and {name} a phrase of the slot of that name.
func (g *generator) expand(phrase string) string {
	var out strings.Builder
	for phrase != "" {
		i := strings.IndexAny(phrase, "[{")
		if i < 0 {
			out.WriteString(phrase)
			break
		}
		out.WriteString(phrase[:i])
		if phrase[i] == '{' {
			name, rest, _ := strings.Cut(phrase[i+1:], "}")
			out.WriteString(g.pick(slots[name]))
			phrase = rest
			continue
		}
		options, rest := alternatives(phrase[i+1:])
		out.WriteString(g.pick(options))
		phrase = rest
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// alternatives splits what follows a bracket at the bars of its own level.
func alternatives(s string) (options []string, rest string) {
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			if depth == 0 {
				return append(options, s[from:i]), s[i+1:]
			}
			depth--
		case '|':
			if depth == 0 {
				options = append(options, s[from:i])
				from = i + 1
			}
		}
	}
	return append(options, s[from:]), ""
}
