// Package term is how the verbs speak to a person: colours, check marks, tables
// and progress, each only where there is a terminal to show it.
package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Out is a stream that may end at a terminal.
type Out struct {
	io.Writer
	TTY    bool // a person is watching: progress may be drawn
	Colour bool
}

// New looks at w. Colours follow https://no-color.org.
func New(w io.Writer, getenv func(string) string) Out {
	f, ok := w.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd())) && getenv("TERM") != "dumb"
	return Out{Writer: w, TTY: tty, Colour: tty && getenv("NO_COLOR") == ""}
}

// Green, Red and Bold mark text where colours are wanted.
func (o Out) Green(s string) string { return o.paint("32", s) }

// Red is for what has failed.
func (o Out) Red(s string) string { return o.paint("31", s) }

// Bold is for headings.
func (o Out) Bold(s string) string { return o.paint("1", s) }

func (o Out) paint(code, s string) string {
	if !o.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Mark is the sign of a check's outcome.
func (o Out) Mark(ok bool) string {
	if ok {
		return o.Green("✓")
	}
	return o.Red("✗")
}

// Table writes rows in aligned columns, with a header.
func (o Out) Table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(o, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = Clean(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// Fields writes names and values below each other. Empty values are left out.
func (o Out) Fields(pairs ...string) error {
	w := tabwriter.NewWriter(o, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], Clean(pairs[i+1]))
		}
	}
	return w.Flush()
}

// Clean takes out of other people's words what could steer a terminal or break
// a line.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Bar shows how far something has come, on one line of a terminal. Its zero
// value, and one made for a pipe, shows nothing.
type Bar struct {
	pool *mpb.Progress
	bar  *mpb.Bar
	note chan string
}

// Bar starts a bar. Note is what stands behind it.
func (o Out) Bar(name string, total int) *Bar {
	if !o.TTY {
		return &Bar{}
	}
	b := &Bar{note: make(chan string, 1)}
	b.note <- ""
	b.pool = mpb.New(mpb.WithOutput(o), mpb.WithWidth(40), mpb.WithAutoRefresh(), mpb.WithRefreshRate(100*time.Millisecond))
	var before []decor.Decorator
	if name != "" {
		before = append(before, decor.Name(name, decor.WCSyncSpaceR))
	}
	style := mpb.BarStyle().Lbound("").Filler("█").Tip("█").Padding("░").Rbound("")
	b.bar = b.pool.New(int64(total), style, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(before...),
		mpb.AppendDecorators(decor.CountersNoUnit(" %d/%d"), decor.Elapsed(decor.ET_STYLE_GO, decor.WC{C: decor.DSyncSpace}),
			decor.Any(func(decor.Statistics) string {
				s := <-b.note
				b.note <- s
				return "  " + s
			})))
	return b
}

// Set moves the bar.
func (b *Bar) Set(done, total int, note string) {
	if b.bar == nil {
		return
	}
	<-b.note
	b.note <- note
	b.bar.SetTotal(int64(total), false)
	b.bar.SetCurrent(int64(done))
}

// Done takes the bar off the screen. It may be called more than once.
func (b *Bar) Done() {
	if b.bar == nil {
		return
	}
	b.bar.Abort(true)
	b.pool.Wait()
	b.bar = nil
}
