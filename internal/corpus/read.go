package corpus

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"atoll/internal/learn/text"
)

// Limits of a file of examples.
const (
	MaxFile  = 256 << 20 // bytes
	MaxLine  = 1 << 20   // bytes of one JSON line
	maxField = 256       // columns of a CSV file
)

// ErrFormat means that a file does not hold examples.
var ErrFormat = errors.New("not a file of examples")

// Column and field names, in the order in which they are looked for.
var (
	textNames  = []string{"text", "message", "request"}
	labelNames = []string{"label", "category", "intent", "intents", "class"}
)

// Read reads labelled texts. The ending of name gives the format:
//
//   - .csv: RFC 4180 with a header line, comma separated. Quoted fields may hold
//     line ends. LF, CR LF and bare CR end lines.
//   - .jsonl, .ndjson: one JSON object a line, with string fields. Blank lines
//     are skipped.
//
// Without a name, as of what comes through a pipe, { at the start means JSON
// Lines, and anything else CSV.
//
// The text is in "text" ("message", "request"), the label in "label" ("category",
// "intent", "intents", "class"); exactly one of each. Other columns are ignored.
// A byte order mark is skipped. Labels lose surrounding space. Every error is
// ErrFormat, or the reader's own, and names the line.
func Read(r io.Reader, name string) ([]Example, error) {
	in := bufio.NewReaderSize(&capped{r: r, left: MaxFile}, 1<<16)
	if b, err := in.Peek(3); err == nil && string(b) == "\uFEFF" {
		_, _ = in.Discard(3) // they are in the buffer
	}
	ext := strings.ToLower(path.Ext(name))
	if name == "" {
		ext = seen(in)
	}
	var out []Example
	var err error
	switch ext {
	case ".csv":
		out, err = readCSV(in)
	case ".jsonl", ".ndjson":
		out, err = readJSONL(in)
	default:
		return nil, fmt.Errorf("%w: %.80q ends neither in .csv nor in .jsonl or .ndjson", ErrFormat, name)
	}
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no examples in it", ErrFormat)
	}
	return out, nil
}

// seen tells the format, as an ending of a name, from how a file starts.
func seen(in *bufio.Reader) string {
	start, _ := in.Peek(in.Size()) // what is wrong with the reader the next read says
	if bytes.HasPrefix(bytes.TrimSpace(start), []byte("{")) {
		return ".jsonl"
	}
	return ".csv"
}

func badLine(line int, format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %w", ErrFormat, line, fmt.Errorf(format, args...))
}

func readCSV(in io.Reader) ([]Example, error) {
	r := csv.NewReader(&newlines{r: in})
	r.ReuseRecord = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: no header line", ErrFormat)
	}
	if err != nil {
		return nil, csvError(err)
	}
	if len(header) > maxField {
		return nil, badLine(1, "%d columns, at most %d", len(header), maxField)
	}
	textAt, err := column(header, textNames)
	if err != nil {
		return nil, err
	}
	labelAt, err := column(header, labelNames)
	if err != nil {
		return nil, err
	}
	var out []Example
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := r.FieldPos(0)
		x, err := example(line, rec[textAt], rec[labelAt])
		if err != nil {
			return nil, err
		}
		if out = append(out, x); len(out) > text.MaxExamples {
			return nil, badLine(line, "over %d examples", text.MaxExamples)
		}
	}
}

func csvError(err error) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return badLine(e.Line, "column %d: %w", e.Column, e.Err)
	}
	return err
}

// column finds the one column with one of the names.
func column(header, names []string) (int, error) {
	at := -1
	for i, h := range header {
		if !slices.Contains(names, strings.ToLower(strings.TrimSpace(h))) {
			continue
		}
		if at >= 0 {
			return 0, badLine(1, "columns %.40q and %.40q could both be the %s; keep one", header[at], h, names[0])
		}
		at = i
	}
	if at < 0 {
		return 0, badLine(1, "no column %s", strings.Join(names, ", "))
	}
	return at, nil
}

// row is one JSON line; one field of each group may be there.
type row struct {
	Text     *string `json:"text"`
	Message  *string `json:"message"`
	Request  *string `json:"request"`
	Label    *string `json:"label"`
	Category *string `json:"category"`
	Intent   *string `json:"intent"`
	Intents  *string `json:"intents"`
	Class    *string `json:"class"`
}

func readJSONL(in io.Reader) ([]Example, error) {
	var out []Example
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, MaxLine)
	line := 0
	for sc.Scan() {
		line++
		b := bytes.TrimSpace(sc.Bytes())
		if len(b) == 0 {
			continue
		}
		var r row
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, badLine(line, "%w", err)
		}
		words, err := one(line, textNames, r.Text, r.Message, r.Request)
		if err != nil {
			return nil, err
		}
		label, err := one(line, labelNames, r.Label, r.Category, r.Intent, r.Intents, r.Class)
		if err != nil {
			return nil, err
		}
		x, err := example(line, words, label)
		if err != nil {
			return nil, err
		}
		if out = append(out, x); len(out) > text.MaxExamples {
			return nil, badLine(line, "over %d examples", text.MaxExamples)
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return nil, badLine(line+1, "over %d bytes", MaxLine)
	}
	return out, sc.Err()
}

// one returns the one value that is there.
func one(line int, names []string, values ...*string) (string, error) {
	at := -1
	for i, v := range values {
		if v == nil {
			continue
		}
		if at >= 0 {
			return "", badLine(line, "both %q and %q; keep one", names[at], names[i])
		}
		at = i
	}
	if at < 0 {
		return "", badLine(line, "no field %s", strings.Join(names, ", "))
	}
	return *values[at], nil
}

func example(line int, words, label string) (Example, error) {
	x := Example{Text: words, Label: strings.TrimSpace(label)}
	switch {
	case strings.TrimSpace(words) == "":
		return x, badLine(line, "the text is empty")
	case len(words) > text.MaxText:
		return x, badLine(line, "the text has %d bytes, at most %d", len(words), text.MaxText)
	case !utf8.ValidString(words):
		return x, badLine(line, "the text is not UTF-8")
	}
	if err := text.CheckLabel(x.Label); err != nil {
		return x, badLine(line, "%w", err)
	}
	// The record it came from is reused for the next line.
	x.Text, x.Label = strings.Clone(x.Text), strings.Clone(x.Label)
	return x, nil
}

// WriteJSONL writes examples so that Read reads the same ones.
func WriteJSONL(w io.Writer, examples []Example) error {
	out := bufio.NewWriter(w)
	for i, x := range examples {
		if err := json.MarshalWrite(out, x); err != nil {
			return fmt.Errorf("example %d: %w", i+1, err)
		}
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return out.Flush()
}

// capped fails where io.LimitReader would pretend that the file ended.
type capped struct {
	r    io.Reader
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(len(p), c.left+1)])
	if c.left -= n; c.left < 0 {
		return 0, fmt.Errorf("%w: over %d bytes", ErrFormat, MaxFile)
	}
	return n, err
}

// newlines turns CR and CR LF into LF.
type newlines struct {
	r  io.Reader
	cr bool // the last byte was CR
}

func (n *newlines) Read(p []byte) (int, error) {
	for {
		got, err := n.r.Read(p)
		kept := 0
		for _, c := range p[:got] {
			after := n.cr
			n.cr = c == '\r'
			switch {
			case c == '\n' && after:
				continue
			case c == '\r':
				c = '\n'
			}
			p[kept] = c
			kept++
		}
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}
