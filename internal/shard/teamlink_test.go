package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/weights"
)

// band is a team on pipes that hold nothing, and who computes alone what it computes
// together.
type band struct {
	t       testing.TB
	forward func([]llm.Span) ([]float32, error)
	alone   *llm.Decoder
	dim     int
}

// newBand divides layer 1 of a model among so many. Followers are what serve does, with a
// way of theirs of gathering.
func newBand(t testing.TB, file *weights.Model, members int, serve func(*follower, net.Conn), gatherer func(*follower) llm.Gatherer) *band {
	t.Helper()
	const pages, batch = 8, 16
	speeds := slices.Repeat([]int{1}, members)
	var form stepForm
	decoder := func(s llm.Share, g llm.Gatherer) *llm.Decoder {
		m, err := llm.Load(t.Context(), file, llm.Options{First: 1, Last: 2, Share: s})
		if err != nil {
			t.Fatal(err)
		}
		d, err := llm.NewDecoder(m, newPool(t), llm.DecoderConfig{Pages: pages, Batch: batch, Context: m.Config.Context, Team: g})
		if err != nil {
			t.Fatal(err)
		}
		form = stepFormOf(m, batch, pages)
		return d
	}
	d := &band{t: t, alone: decoder(llm.Share{}, nil), dim: file.Config.Dim}
	tm := &team{parts: make([][]byte, members)}
	for i := 1; i < members; i++ {
		a, b := net.Pipe()
		tm.links = append(tm.links, newTeamLink(a))
		f := &follower{link: newTeamLink(b), member: i, parts: make([][]byte, members), form: form}
		f.decoder = decoder(llm.Share{Speeds: speeds, Member: i}, gatherer(f))
		done := make(chan struct{})
		go func() { defer close(done); serve(f, b) }()
		t.Cleanup(func() { _, _ = a.Close(), b.Close(); <-done })
	}
	d.forward = tm.lead(decoder(llm.Share{Speeds: speeds}, tm), form)
	t.Cleanup(tm.watch(func(error) {}))
	return d
}

// newDuo is a band of two.
func newDuo(t testing.TB, file *weights.Model, serve func(*follower, net.Conn)) *band {
	t.Helper()
	return newBand(t, file, 2, serve, func(f *follower) llm.Gatherer { return f })
}

// span is n positions of a sequence, whose rows begin with so much.
func (d *band) span(sequence, n int, begin float32) llm.Span {
	s := llm.Span{Pages: []int32{int32(sequence)}, Hidden: make([]float32, n*d.dim), Want: n}
	for i := range s.Hidden {
		if s.Hidden[i] = float32(i%7) - 3; i%d.dim == 0 {
			s.Hidden[i] = begin
		}
	}
	return s
}

func (d *band) same(spans ...llm.Span) {
	d.t.Helper()
	want, err := d.alone.Forward(spans)
	if err != nil {
		d.t.Fatal(err)
	}
	want = slices.Clone(want)
	got, err := d.forward(spans)
	if err != nil || !slices.Equal(got, want) {
		d.t.Errorf("%d numbers, others than the %d of one node: %v", len(got), len(want), err)
	}
}

// Numbers that go out of range at one member, or at both, spoil their step and nothing
// else.
func TestTeamGoesOn(t *testing.T) {
	t.Parallel()
	for name, heads := range map[string][]int{"the leader": {0}, "the follower": {1}, "both": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A key of such a head is too large where a row begins with something.
			b := llmtest.Changed(t, func(id weights.ID, x []float32) {
				if id.Part != weights.AttnK || id.Layer != 1 {
					return
				}
				for _, h := range heads {
					x[h*32*128] = 1e6
				}
			})
			file, err := weights.FromGGUF("changed", bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			d := newDuo(t, file, func(f *follower, _ net.Conn) {
				if err := f.serve(); !errors.Is(err, errTeam) {
					t.Errorf("the follower: %v", err)
				}
			})
			for range 3 {
				d.same(d.span(0, 3, 0), d.span(1, 5, 0))
				if _, err := d.forward([]llm.Span{d.span(0, 2, 0), d.span(1, 4, 9)}); err == nil || errors.Is(err, errTeam) || !strings.Contains(err.Error(), "binary16") {
					t.Errorf("the step that cannot be computed: %v", err)
				}
			}
			d.same(d.span(0, 3, 0))
		})
	}
}

// moody is a follower that cannot compute some of the steps.
type moody struct {
	*follower
	at uint32 // the gathering before which it finds out
}

var errMood = errors.New("not today")

func (m *moody) Gather(mine []byte, sizes []int) ([][]byte, error) {
	if m.gather+1 == m.at && m.step%3 == 0 {
		return nil, errMood
	}
	return m.follower.Gather(mine, sizes)
}

// Of three members one or more give up a step, at the same place or at another, and the
// team goes on.
func TestSeveralGiveUp(t *testing.T) {
	t.Parallel()
	c := llmtest.Coral(t).Config
	c.Heads, c.KVHeads = 3, 3
	file, err := weights.Random(c, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range [][2]uint32{{1, 0}, {0, 1}, {2, 2}, {1, 4}, {4, 3}, {0, 4}} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			d := newBand(t, file, 3, func(f *follower, _ net.Conn) {
				if err := f.serve(); !errors.Is(err, errTeam) {
					t.Errorf("member %d: %v", f.member, err)
				}
			}, func(f *follower) llm.Gatherer { return &moody{f, at[f.member-1]} })
			for range 3 {
				d.same(d.span(0, 3, 0), d.span(1, 5, 0))
				d.same(d.span(0, 4, 0))
				if _, err := d.forward([]llm.Span{d.span(0, 9, 0)}); err == nil || errors.Is(err, errTeam) || !strings.Contains(err.Error(), errMood.Error()) {
					t.Errorf("the step that is given up: %v", err)
				}
			}
			d.same(d.span(0, 3, 0))
		})
	}
}

// A follower that sends what it may not has broken up the team; what it does not send is
// not waited for once its stream ends.
func TestHostileFollower(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	const half = 64 / 32 * 36 // bytes of a row's part of what attention gives: 64 numbers
	part := func(step, gather uint32, member byte, size int) func(*teamLink) error {
		return func(l *teamLink) error { return l.part(step, gather, int(member), make([]byte, size)) }
	}
	for name, answer := range map[string]func(*teamLink) error{
		"nothing":                 func(*teamLink) error { return nil },
		"a part of a step before": part(0, 1, 1, half),
		"of a step to come":       part(2, 1, 1, half),
		"of another gathering":    part(1, 2, 1, half),
		"of the leader":           part(1, 1, 0, half),
		"of nobody":               part(1, 1, 200, half),
		"that is too short":       part(1, 1, 1, half-1),
		"that is too long":        part(1, 1, 1, half+1),
		"that is not quantised": func(l *teamLink) error {
			return l.part(1, 1, 1, bytes.Repeat([]byte{0x80}, half))
		},
		"a step":       func(l *teamLink) error { return l.step(1, nil) },
		"another kind": func(l *teamLink) error { return l.send(9, 1, func(b []byte) []byte { return b }) },
		"a long reason": func(l *teamLink) error {
			return l.send(teamQuit, 1, func(b []byte) []byte { return append(b, make([]byte, 9999)...) })
		},
		"a reason of no text": func(l *teamLink) error { return l.send(teamQuit, 1, func(b []byte) []byte { return append(b, 0xff) }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDuo(t, file, func(f *follower, c net.Conn) {
				if _, err := f.await(); err != nil {
					t.Error(err)
				}
				go func() { _, _ = io.Copy(io.Discard, c) }()
				_ = answer(f.link) // the leader may have had enough
				_ = c.Close()
			})
			if _, err := d.forward([]llm.Span{d.span(0, 1, 0)}); !errors.Is(err, errTeam) {
				t.Errorf("%v, want %v", err, errTeam)
			}
		})
	}
}

// A leader that asks for what it may not is followed no more.
func TestHostileLeader(t *testing.T) {
	t.Parallel()
	file := llmtest.Coral(t)
	form := stepForm{llm.F32.RowsBefore(0, &file.Config), 16, 8, file.Config.Context}
	step := func(change func(s *llm.Span)) []byte {
		s := llm.Span{Pages: []int32{7, 0, 0}, First: 30, Hidden: make([]float32, 2*file.Config.Dim)}
		change(&s)
		b, err := form.write([]llm.Span{s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := step(func(*llm.Span) {})
	nan := slices.Clone(good)
	copy(nan[len(nan)-4:], []byte{0, 0, 0xc0, 0x7f})
	for name, say := range map[string]func(*teamLink) error{
		"a step to come":        func(l *teamLink) error { return l.step(2, good) },
		"a part":                func(l *teamLink) error { return l.part(1, 1, 0, nil) },
		"the end of no step":    func(l *teamLink) error { return l.quit(1, errors.New("?")) },
		"a step of nothing":     func(l *teamLink) error { return l.step(1, []byte{0, 0}) },
		"that is too short":     func(l *teamLink) error { return l.step(1, good[:len(good)-1]) },
		"that is too long":      func(l *teamLink) error { return l.step(1, append(slices.Clone(good), 0)) },
		"that is far too long":  func(l *teamLink) error { return l.step(1, make([]byte, form.most()+1)) },
		"with a page too many":  func(l *teamLink) error { return l.step(1, step(func(s *llm.Span) { s.Pages[0] = 8 })) },
		"with a page below all": func(l *teamLink) error { return l.step(1, step(func(s *llm.Span) { s.Pages[0] = -1 })) },
		"beyond the context": func(l *teamLink) error {
			return l.step(1, step(func(s *llm.Span) { s.First, s.Pages = 255, make([]int32, 9) }))
		},
		"with too many positions": func(l *teamLink) error {
			return l.step(1, step(func(s *llm.Span) { s.Hidden = make([]float32, 17*file.Config.Dim) }))
		},
		"with a number that is none": func(l *teamLink) error { return l.step(1, nan) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := net.Pipe()
			go func() {
				_ = say(newTeamLink(a)) // the follower may have had enough
				_ = a.Close()
			}()
			defer b.Close()
			f := &follower{link: newTeamLink(b), form: form}
			if spans, err := f.await(); !errors.Is(err, errFormat) {
				t.Errorf("%d spans, %v, want %v", len(spans), err, errFormat)
			}
		})
	}
	a, b := net.Pipe()
	go func() { _ = newTeamLink(a).step(1, good) }()
	f := &follower{link: newTeamLink(b), form: form}
	if spans, err := f.await(); err != nil || len(spans) != 1 || spans[0].First != 30 || !slices.Equal(spans[0].Pages, []int32{7}) || len(spans[0].Hidden) != 2*file.Config.Dim {
		t.Errorf("%v, %v", spans, err)
	}
}

// closing is a stream of what is written to it.
type closing struct{ *bytes.Buffer }

func (closing) Close() error { return nil }

// Whatever comes, a member either takes it or knows that the team has broken up.
func FuzzTeam(f *testing.F) {
	form := stepForm{llm.F32.RowsBefore(0, &weights.Config{Dim: 2}), 4, 8, 64}
	var seed bytes.Buffer
	l := newTeamLink(closing{&seed})
	step, err := form.write([]llm.Span{{Pages: []int32{1, 2}, First: 31, Hidden: make([]float32, 4)}})
	if err := errors.Join(err, l.step(1, step), l.part(1, 1, 1, []byte("part")), l.quit(1, errors.New("why"))); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Add(seed.Bytes()[4+5+len(step):])
	f.Fuzz(func(t *testing.T, data []byte) {
		follows := &follower{link: newTeamLink(closing{bytes.NewBuffer(slices.Clone(data))}), form: form}
		spans, err := follows.await()
		if err == nil {
			again, err := form.write(spans)
			if n := binary.LittleEndian.Uint32(data); err != nil || !bytes.Equal(again, data[9:4+n]) {
				t.Fatalf("%+v is written as %x: %v", spans, again, err)
			}
		} else if !errors.Is(err, errTeam) {
			t.Fatal(err)
		}
		leads := newTeamLink(closing{bytes.NewBuffer(slices.Clone(data))})
		parts := [][]byte{nil, make([]byte, 4)}
		if _, err := leads.take(1, 1, parts, 2); err != nil && !errors.Is(err, errTeam) && !errors.Is(err, errQuit) {
			t.Fatal(err)
		}
	})
}
