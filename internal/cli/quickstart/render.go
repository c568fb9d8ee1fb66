package quickstart

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"atoll/internal/core"
)

// Marker says how a check's outcome looks.
type Marker func(ok bool) string

// Head is the top of the screen, known before there is a result.
func (r *Result) Head() string {
	return fmt.Sprintf("Atoll · %d nodes, %d owners · %s\n%d requests, %d parts, %d of %d owners agree, %s only\n",
		len(r.Nodes), r.Owners, r.URL, r.Requests, r.Parts, r.Agree, r.Replicas, strings.Join(r.Residency, ", "))
}

// Body is the rest of the screen.
func (r *Result) Body(mark Marker) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d/%d  %.0f s  cost %s of %s\n", meter(r.PartsDone, r.Parts), r.PartsDone, r.Parts, r.Seconds, r.Cost, r.Budget)
	if r.State != "succeeded" {
		fmt.Fprintf(&b, "the task has %s: %s\n", r.State, r.Reason)
	}
	if e := r.Example; e != nil {
		fmt.Fprintf(&b, "%q -> %s %s (%s)\n", e.Text, e.Label, short(e.P), strings.Join(e.Reasons, ", "))
	}
	if r.PartsDone == r.Parts {
		fmt.Fprintf(&b, "accuracy %.0f %%  (majority class %.0f %%)\n", 100*r.Accuracy, 100*r.Majority)
	}
	b.WriteByte('\n')
	r.table(&b)
	b.WriteByte('\n')
	r.story(&b)
	r.together(&b)
	r.learnt(&b)
	r.checks(&b, mark)
	return b.String()
}

// meter is the bar of a task that has ended.
func meter(done, total int) string {
	const width = 18
	n := width
	if total > 0 {
		n = done * width / total
	}
	return strings.Repeat("█", n) + strings.Repeat("░", width-n)
}

func (r *Result) table(b *strings.Builder) {
	var cells strings.Builder
	w := tabwriter.NewWriter(&cells, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "node\towner\tprice\tok\tbad\tpaid\treliability\t")
	for i := range r.Nodes {
		n := &r.Nodes[i]
		story := n.Note()
		if n.used() || story == "" {
			story = short(fixed(n.ReliabilityFrom)) + "->" + short(fixed(n.ReliabilityTo)) + "\t" + story
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", n.Node, n.Owner, short(n.Price.String()), n.OK, n.Bad, amount(n.Paid), story)
	}
	_ = w.Flush() // a Builder does not fail
	for line := range strings.Lines(cells.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

// story is what the language model wrote, wrapped.
func (r *Result) story(b *strings.Builder) {
	s := r.Story
	if s == nil || s.Text == "" {
		return
	}
	fmt.Fprintf(b, "%s, the language model in this program, goes on (%d tokens, %.2f s):\n", s.Model, s.Tokens, s.Seconds)
	text := s.Prompt + s.Text
	if !s.Ended {
		text += " …"
	}
	wrap(b, text)
}

// together is what several nodes have written, with the moment at which one was lost.
func (r *Result) together(b *strings.Builder) {
	t := r.Together
	if t == nil || t.Before == "" {
		return
	}
	var held []string
	for _, s := range t.Stages {
		layers := fmt.Sprint(s.Layers[0])
		if last := s.Layers[1] - 1; last > s.Layers[0] {
			layers += fmt.Sprintf("-%d", last)
		}
		held = append(held, string(s.Node)+" "+layers)
	}
	fmt.Fprintf(b, "Its layers on three nodes (%s), and one dies (%d tokens, %.2f s):\n", strings.Join(held, ", "), t.Tokens, t.Seconds)
	wrap(b, t.Prompt+t.Before+" ✗"+string(t.Lost)+" "+t.After+" …")
}

// learnt is what the banks came to, each alone and together.
func (r *Result) learnt(b *strings.Builder) {
	l := r.Learnt
	if l == nil {
		return
	}
	fmt.Fprintf(b, "Four banks learn as one, and keep their rows (simulated here, %d rounds, %.1f s):\n", l.Rounds, l.Seconds)
	fmt.Fprintf(b, "  AUC alone %s to %s, together %s, all rows in one place %s\n", short(fixed(l.Worst)), short(fixed(l.Best)), short(fixed(l.AUC)), short(fixed(l.Pooled)))
	fmt.Fprintf(b, "  %s left in round %d; of %s's update the hub saw %s…\n\n", l.Left, l.Round, l.Shown, l.Seen)
}

// wrap writes a text in lines, and an empty one.
func wrap(b *strings.Builder, text string) {
	const margin, width = "  ", 78
	line := margin
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) >= width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = margin
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n\n")
}

func amount(m core.Money) string {
	if m == 0 {
		return "0"
	}
	return short(m.String())
}

func fixed(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// short writes a decimal with two places and without a zero in front.
func short(decimal string) string {
	if f, err := strconv.ParseFloat(decimal, 64); err == nil {
		decimal = fixed(f)
	}
	return strings.TrimPrefix(decimal, "0")
}

// checks are written two to a line where they are short.
func (r *Result) checks(b *strings.Builder, mark Marker) {
	const column = 26
	for i := 0; i < len(r.Checks); i++ {
		c := &r.Checks[i]
		fmt.Fprintf(b, "%s %s", mark(c.OK), c.Text)
		if c.Detail != "" {
			fmt.Fprintf(b, ": %s", c.Detail)
		}
		if pad := column - len(c.Text); i+1 < len(r.Checks) && pad > 0 && c.Detail == "" && r.Checks[i+1].Detail == "" && len(r.Checks[i+1].Text) < column {
			i++
			fmt.Fprintf(b, "%*s%s %s", pad, "", mark(r.Checks[i].OK), r.Checks[i].Text)
		}
		b.WriteByte('\n')
	}
}
