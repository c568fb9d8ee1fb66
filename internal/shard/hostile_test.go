package shard

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
)

// middle is a stage alone: its neighbours are the test.
func middle(t *testing.T) *Stage {
	t.Helper()
	l := &line{t: t, file: llmtest.Coral(t)}
	s, err := NewStage(l.load(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	startStage(t, s, s.Run, 3, 1)
	return s
}

// startStage runs a stage that reaches nobody.
func startStage(t *testing.T, s *Stage, run func(context.Context), epoch uint32, place uint16) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	if err := s.Assign(Assignment{Line: LineID{1}, Epoch: epoch, Place: place, Next: func(ctx context.Context) (io.ReadWriteCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}); err != nil {
		t.Fatal(err)
	}
}

// say opens a stream to a stage, says all that, and returns what the stage makes of it.
func say(t *testing.T, s *Stage, messages ...any) error {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Accept(b) }()
	defer a.Close()
	e := newEncoder(a)
	for i, m := range messages {
		if e.write(m) != nil || e.flush() != nil {
			break // the stage has had enough, and says why
		}
		if i == 0 {
			if _, err := newDecoder(a).read(); err != nil {
				break
			}
		}
	}
	_ = a.Close()
	return <-done
}

// What a neighbour may not say ends its stream, and leaves nothing behind.
func TestHostileNeighbour(t *testing.T) {
	t.Parallel()
	hi := &hello{LineID{1}, 3, 1}
	begin := &opened{1, 4, 8, []byte("{}")}
	row := func(n int) []byte { return make([]byte, 4*n*llmtest.Coral(t).Config.Dim) }
	nan := row(1)
	copy(nan[12:], []byte{0, 0, 0xc0, 0x7f})
	for name, c := range map[string]struct {
		messages []any
		want     error
	}{
		"another line":           {[]any{&hello{LineID{2}, 3, 1}}, errStale},
		"an epoch that is over":  {[]any{&hello{LineID{1}, 2, 1}}, errStale},
		"an epoch to come":       {[]any{&hello{LineID{1}, 4, 1}}, errStale},
		"another's place":        {[]any{&hello{LineID{1}, 3, 2}}, errStale},
		"no hello":               {[]any{begin}, errFormat},
		"hello twice":            {[]any{hi, hi}, errFormat},
		"lengths":                {[]any{hi, &have{}}, errFormat},
		"tokens":                 {[]any{hi, &drawn{}}, errFormat},
		"rows of another shape":  {[]any{hi, begin, &rows{[]span{{1, 0, 1}}, row(1)[1:]}}, errFormat},
		"a number that is none":  {[]any{hi, begin, &rows{[]span{{1, 0, 1}}, nan}}, errFormat},
		"rows after a gap":       {[]any{hi, begin, &rows{[]span{{1, 1, 1}}, row(1)}}, errFormat},
		"rows beyond the limit":  {[]any{hi, begin, &rows{[]span{{1, 0, 9}}, row(9)}}, errFormat},
		"rows far beyond":        {[]any{hi, begin, &rows{[]span{{1, math.MaxInt32, 1}}, row(1)}}, errFormat},
		"rows that were there":   {[]any{hi, begin, &rows{[]span{{1, 0, 2}}, row(2)}, &rows{[]span{{1, 0, 1}}, row(1)}}, io.EOF},
		"rows of no sequence":    {[]any{hi, &rows{[]span{{9, 0, 1}}, row(1)}}, io.EOF},
		"the end of no sequence": {[]any{hi, &ended{9}, &failed{9, "?"}}, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := say(t, middle(t), c.messages...); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// Rows that a stage has already it drops, and takes those behind them.
func TestRowsAgain(t *testing.T) {
	t.Parallel()
	s := middle(t)
	row := func(n int) []byte { return make([]byte, n*s.rowsIn.Bytes()) }
	if err := say(t, s, &hello{LineID{1}, 3, 1}, &opened{1, 4, 8, []byte("{}")}, &rows{[]span{{1, 0, 2}}, row(2)}, &rows{[]span{{1, 1, 2}}, row(2)}, &rows{[]span{{1, 0, 1}}, row(1)}); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.seqs[1]; q.received != 3 || q.computed*s.rowsIn.Bytes()+len(q.in) < 3*s.rowsIn.Bytes() {
		t.Errorf("%d positions, of which %d are computed and %d bytes wait", q.received, q.computed, len(q.in))
	}
}

// However much a neighbour sends, a stage keeps no more than its pages are for.
func TestFlood(t *testing.T) {
	t.Parallel()
	hi := &hello{LineID{1}, 3, 1}
	t.Run("sequences", func(t *testing.T) {
		t.Parallel()
		s := middle(t)
		all := []any{hi}
		for i := range maxSequences + 1 {
			all = append(all, &opened{uint32(i), 1, 1 << 30, nil})
		}
		if err := say(t, s, all...); !errors.Is(err, errFormat) {
			t.Errorf("%v, want %v", err, errFormat)
		}
	})
	t.Run("openings", func(t *testing.T) {
		t.Parallel()
		s := middle(t)
		all := []any{hi}
		for i := range maxOpenings/maxOpening + 9 {
			all = append(all, &opened{uint32(i), 1, 2, []byte(strings.Repeat(" ", maxOpening))})
		}
		if err := say(t, s, all...); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		kept := 0
		for _, q := range s.seqs {
			kept += len(q.Opening)
		}
		if kept != s.openings || kept > maxOpenings {
			t.Errorf("%d bytes of openings, of which %d are known", kept, s.openings)
		}
	})
	t.Run("rows of what was refused", func(t *testing.T) {
		t.Parallel()
		s := middle(t)
		refused := &opened{1, 1, 1 << 30, nil}
		if err := say(t, s, hi, refused, &rows{[]span{{1, 0, 64}}, make([]byte, 64*4*s.dim)}); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if q := s.seqs[1]; q.why == "" || len(q.in) > 0 {
			t.Errorf("refused because %q, with %d numbers kept", q.why, len(q.in))
		}
	})
}

// A last stage that says what it may not spoils the answer at most: the head goes on.
func TestHostileLastStage(t *testing.T) {
	t.Parallel()
	hi := &hello{LineID{1}, 1, 0}
	at := func(position int, id int32) token { return token{1, llm.Token{ID: id, Position: position}} }
	good := &drawn{[]token{at(3, 70), at(4, 71)}}
	for name, c := range map[string]struct {
		messages []any
		stream   error  // what becomes of the stream
		answer   string // why the answer ends; empty: as it should
	}{
		"tokens":                     {[]any{hi, good}, io.EOF, ""},
		"the end of what goes on":    {[]any{hi, &ended{1}, good}, io.EOF, ""},
		"tokens of no sequence":      {[]any{hi, &drawn{[]token{{9, llm.Token{}}}}, &failed{9, "?"}, good}, io.EOF, ""},
		"tokens twice":               {[]any{hi, &drawn{[]token{at(3, 70), at(3, 99)}}, good}, io.EOF, ""},
		"a token too many":           {[]any{hi, good, &drawn{[]token{at(5, 72)}}}, io.EOF, ""},
		"a token that there is not":  {[]any{hi, &drawn{[]token{at(3, 1<<30)}}}, io.EOF, "token 1073741824"},
		"a token below all":          {[]any{hi, &drawn{[]token{at(3, -1)}}}, io.EOF, "token -1"},
		"a token after a gap":        {[]any{hi, &drawn{[]token{at(4, 70)}}}, io.EOF, "at position 4, after 3"},
		"no more":                    {[]any{hi, &failed{1, "no more"}}, io.EOF, "no more"},
		"rows":                       {[]any{hi, &rows{[]span{{1, 0, 1}}, make([]byte, 4*llmtest.Coral(t).Config.Dim)}}, errFormat, "cancelled"},
		"a sequence of its own":      {[]any{hi, &opened{2, 1, 2, nil}}, errFormat, "cancelled"},
		"tokens of an epoch to come": {[]any{&hello{LineID{1}, 2, 0}, good}, errStale, "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &line{t: t, file: llmtest.Coral(t)}
			h, err := NewHead(l.load(0, 1), 4)
			if err != nil {
				t.Fatal(err)
			}
			startStage(t, h.Stage, h.Run, 1, 0)
			ctx, stop := context.WithCancelCause(t.Context())
			defer stop(nil)
			answer := make(chan error, 1)
			go func() {
				var err error
				for _, err = range h.Generate(ctx, llm.Request{Prompt: []int32{5, 6, 7}, MaxTokens: 2, Logprobs: -1}) {
				}
				answer <- err
			}()
			for len(h.Live()) == 0 { // until it has begun
				runtime.Gosched()
			}
			if err := say(t, h.Stage, c.messages...); !errors.Is(err, c.stream) {
				t.Errorf("the stream: %v, want %v", err, c.stream)
			}
			if c.answer == "cancelled" {
				stop(errors.New(c.answer))
			}
			if err := <-answer; (err == nil) != (c.answer == "") || err != nil && !strings.Contains(err.Error(), c.answer) {
				t.Errorf("the answer: %v, want %q", err, c.answer)
			}
			if n := len(h.Live()); n > 0 {
				t.Errorf("%d sequences are left", n)
			}
		})
	}
}
