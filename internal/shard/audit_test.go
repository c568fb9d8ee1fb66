package shard

import (
	"bytes"
	"context"
	"math"
	"slices"
	"testing"

	"atoll/internal/core"
	"atoll/internal/llm"
	"atoll/internal/llm/llmtest"
	"atoll/internal/llm/weights"
	"atoll/internal/shard/record"
)

// statements are what a line's stages say of one answer.
func statements(t *testing.T, v *village, all Accounts) (out record.Answer) {
	t.Helper()
	for _, s := range all {
		st, err := record.Open(s.Statement, v.nodes[s.Node].public)
		if err != nil || st.Node != s.Node {
			t.Fatal(st, err)
		}
		out = append(out, st)
	}
	return out
}

// accountFor answers a request and has the line account for it.
func accountFor(t *testing.T, v *village, l *Line, h *Head, r llm.Request) (tokens []int32, said record.Answer) {
	t.Helper()
	for token, err := range h.Answer(t.Context(), r, func(sequence uint32, positions int) {
		all, err := l.Account(t.Context(), sequence, positions)
		if err != nil {
			t.Fatal(err)
		}
		said = statements(t, v, all)
	}) {
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token.ID)
	}
	return tokens, said
}

// again audits one stage as a stranger with the true weights does.
func again(t *testing.T, v *village, auditor *villager, tokens []int32, said record.Answer, r llm.Request, stage, positions int) *record.Statement {
	t.Helper()
	s := said[stage]
	m, err := llm.Load(t.Context(), v.file, llm.Options{Profile: v.in, First: s.First, Last: s.Last})
	if err != nil {
		t.Fatal(err)
	}
	terms, err := TermsOf(&r, m.Config.Context)
	if err != nil {
		t.Fatal(err)
	}
	var rows []byte
	if stage > 0 {
		before := said[stage-1]
		rows, err = FetchRows(t.Context(), auditor.end.Open, v.nodes[before.Node].address, &RowsRequest{Line: before.Line, Sequence: before.Sequence, Positions: positions}, m.Profile.RowsBefore(m.First, &m.Config))
		if err != nil {
			t.Fatal(err)
		}
	}
	fed := slices.Concat(r.Prompt, tokens)[:positions]
	found, err := Recompute(t.Context(), StageConfig{Model: m, Pool: newPool(t)}, terms, fed, rows)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Stages account for what they have computed; each can be computed again from what the
// one before has sent, whole or in its beginning, and comes to the same links. So it
// does if the text was cut short.
func TestAudit(t *testing.T) {
	t.Parallel()
	for _, p := range []llm.Profile{"q8", "q8/2,3"} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			testAudit(t, p)
		})
	}
}

func testAudit(t *testing.T, p llm.Profile) {
	v := newVillage(t)
	v.in = p
	rs := requests(v.file, t, 1, 150)
	l, h := v.line(nil, "a", "b")
	auditor := v.node("auditor")
	run(t, l, h)
	tokens, said := accountFor(t, v, l, h, rs[0])
	if err := said.Check(v.file.Config.Layers, tokens); err != nil {
		t.Fatal(err)
	}
	for stage, s := range said {
		if len(s.In) < 2 {
			t.Fatalf("%d links: a prefix of them shows nothing", len(s.In))
		}
		whole := again(t, v, auditor, tokens, said, rs[0], stage, s.Computed)
		if whole.Start != s.Start || !slices.Equal(whole.In, s.In) || !slices.Equal(whole.Out, s.Out) {
			t.Errorf("stage %d: computed again, it has other links", stage)
		}
		if stage < len(said)-1 {
			begun := again(t, v, auditor, tokens, said, rs[0], stage, record.Every)
			if !record.Equal(begun.In, s.In, 1) || !record.Equal(begun.Out, s.Out, 1) {
				t.Errorf("stage %d: its beginning has other links", stage)
			}
		}
	}
	var short []int32
	var shortSaid record.Answer
	for token, err := range h.Answer(t.Context(), rs[0], func(sequence uint32, positions int) {
		all, err := l.Account(t.Context(), sequence, positions)
		if err != nil {
			t.Error(err)
		}
		shortSaid = statements(t, v, all)
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if short = append(short, token.ID); len(short) == 20 {
			break
		}
	}
	if err := shortSaid.Check(v.file.Config.Layers, short); err != nil || !slices.Equal(short, tokens[:20]) {
		t.Errorf("cut short: %v", err)
	}
	if shortSaid.Check(v.file.Config.Layers, append(short[:19:19], short[19]+1)) == nil {
		t.Error("another token than the last stage has drawn passes")
	}
}

func model(t *testing.T, file []byte) *weights.Model {
	t.Helper()
	m, err := weights.FromGGUF("a file", bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cheats are what a node has, of which a layer is to be computed, that would rather not.
var cheats = map[string]func(t *testing.T, layer int) (*weights.Model, llm.Profile){
	"other weights": func(t *testing.T, _ int) (*weights.Model, llm.Profile) {
		return model(t, llmtest.Changed(t, func(_ weights.ID, x []float32) {
			for i := range x {
				x[i] *= 1.01
			}
		})), llm.Q8
	},
	"quantised lower": func(t *testing.T, _ int) (*weights.Model, llm.Profile) {
		return model(t, llmtest.Changed(t, func(_ weights.ID, x []float32) {
			for i := range x {
				x[i] = float32(math.Round(float64(x[i])*64) / 64)
			}
		})), llm.Q8
	},
	"a skipped layer": func(t *testing.T, layer int) (*weights.Model, llm.Profile) {
		// Nothing is added to what goes through.
		return model(t, llmtest.Changed(t, func(id weights.ID, x []float32) {
			if id.Layer == layer && (id.Part == weights.AttnOut || id.Part == weights.FFNDown) {
				clear(x)
			}
		})), llm.Q8
	},
	"another profile": func(t *testing.T, _ int) (*weights.Model, llm.Profile) { return llmtest.Coral(t), llm.F32 },
}

// A stage that computes something else than its layers is found out by an audit of it,
// and its neighbours, who have computed rightly from what they got, are not blamed.
func TestAuditFindsCheats(t *testing.T) {
	t.Parallel()
	for name, cheat := range cheats {
		for _, who := range []core.NodeID{"a", "b"} { // in the middle, and at the end
			t.Run(name+" at "+string(who), func(t *testing.T) {
				t.Parallel()
				v := newVillage(t)
				rs := requests(v.file, t, 1, 30)
				l, h := v.line(nil, "a", "b")
				auditor := v.node("auditor")
				layer := v.file.Config.Layers - 2
				if who == "b" {
					layer++
				}
				file, profile := cheat(t, layer)
				v.nodes[who].cfg.Load = func(ctx context.Context, s *Seat) (*llm.Model, error) {
					o := s.Options()
					o.Profile = profile
					return llm.Load(ctx, file, o)
				}
				run(t, l, h)
				tokens, said := accountFor(t, v, l, h, rs[0])
				if err := said.Check(v.file.Config.Layers, tokens); err != nil {
					t.Fatal(err) // they agree among themselves: only an audit tells
				}
				for stage, s := range said {
					found := again(t, v, auditor, tokens, said, rs[0], stage, s.Computed)
					if !slices.Equal(found.In, s.In) {
						t.Errorf("%s has not got what %s has sent", s.Node, said[max(stage-1, 0)].Node)
					}
					if (slices.Equal(found.Out, s.Out) && slices.Equal(found.Logits, s.Logits)) != (s.Node != who) {
						t.Errorf("%s is found honest: %v", s.Node, s.Node == who)
					}
				}
			})
		}
	}
}
