package term_test

import (
	"bytes"
	"testing"

	"atoll/internal/cli/term"
)

func none(string) string { return "" }

// In a pipe there is no colour, no progress, and nothing that steers a terminal.
func TestPipe(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	o := term.New(&b, none)
	if o.TTY || o.Colour || o.Red("x") != "x" || o.Mark(true)+o.Mark(false) != "✓✗" {
		t.Errorf("a buffer is taken for a terminal: %+v", o)
	}
	bar := o.Bar("training", 3)
	bar.Set(1, 3, "half")
	bar.Done()
	bar.Done()
	if err := o.Table("NAME VALUE", [][]string{{"a\x1b[2J", "1\n2"}, {"longer", "3"}}); err != nil {
		t.Fatal(err)
	}
	if err := o.Fields("one", "1", "none", "", "three", "\u202e3"); err != nil {
		t.Fatal(err)
	}
	const want = "NAME    VALUE\na?[2J   1 2\nlonger  3\none    1\nthree  ?3\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
}

func TestColour(t *testing.T) {
	t.Parallel()
	o := term.Out{Writer: &bytes.Buffer{}, TTY: true, Colour: true}
	if o.Green("x") != "\x1b[32mx\x1b[0m" {
		t.Errorf("got %q", o.Green("x"))
	}
}

func TestBarOnTerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	bar := term.Out{Writer: &b, TTY: true}.Bar("work", 10)
	bar.Set(5, 10, "cost 1.00")
	bar.Done()
	bar.Set(6, 10, "too late")
	bar.Done()
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b]0;title\x07\xff\u200b")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range term.Clean(s) {
			if r < ' ' || r == 0x7f || r == 0x9b {
				t.Fatalf("%q leaves %q", s, r)
			}
		}
	})
}
