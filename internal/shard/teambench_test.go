package shard

import (
	"fmt"
	"testing"
	"time"

	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
)

// BenchmarkTeam compares steps of a stage of four layers, of the shape of TinyLlama-1.1B's
// and of Llama-3-8B's, that one node computes with one thread, with those of a team of two
// such nodes: one sequence's next position, eight sequences', and 64 positions of a prompt.
// The link between the two is in memory, with TLS on it, and as long as is said. The gain
// needs two cores that are free.
//
//	go test ./internal/shard -bench Team -run '^$'
func BenchmarkTeam(b *testing.B) {
	for _, shape := range []struct {
		name string
		weights.Config
	}{
		{"1.1B", weights.Config{Dim: 2048, FFN: 5632, Heads: 32, KVHeads: 4, HeadDim: 64}},
		{"8B", weights.Config{Dim: 4096, FFN: 14336, Heads: 32, KVHeads: 8, HeadDim: 128}},
	} {
		c := shape.Config
		c.Arch, c.Layers, c.Vocab, c.Context, c.NormEps = weights.Llama, 6, 300, 256, 1e-5
		c.RoPE = weights.RoPE{Style: weights.Interleaved, Dim: c.HeadDim, Base: 10000}
		file, err := weights.Random(c, 1)
		if err != nil {
			b.Fatal(err)
		}
		alone := benchTeam(b, file, 0)
		teams := map[time.Duration]*Stage{}
		rtts := []time.Duration{1, 200 * time.Microsecond, time.Millisecond}
		for _, rtt := range rtts {
			teams[rtt] = benchTeam(b, file, rtt)
		}
		for _, step := range [][2]int{{1, 1}, {8, 1}, {1, 64}} {
			var spans []llm.Span
			for i := range step[0] {
				rows := make([]float32, step[1]*c.Dim)
				for j := range rows {
					rows[j] = float32(j%13)/7 - 1
				}
				spans = append(spans, llm.Span{Pages: []int32{int32(i), int32(8 + i), int32(16 + i)}, Hidden: rows, Want: 1})
			}
			run := func(name string, s *Stage) {
				b.Run(fmt.Sprintf("%s/%dx%d/%s", shape.name, step[0], step[1], name), func(b *testing.B) {
					for b.Loop() {
						if _, err := s.forward(spans); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			run("alone", alone)
			for _, rtt := range rtts {
				run(fmt.Sprintf("two,rtt=%s", rtt.Round(time.Microsecond)), teams[rtt])
			}
		}
	}
}

// benchTeam is a stage of layers 1 to 4, of one node, or of two so far apart.
func benchTeam(b *testing.B, file *weights.Model, rtt time.Duration) *Stage {
	b.Helper()
	v := newVillage(b)
	v.file = file
	lead := v.node("lead")
	seat := &Seat{Line: LineID{1}, Profile: llm.Q8, First: 1, Last: 5, Pages: 24, Batch: 64}
	if rtt > 0 {
		v.net.Line("lead", "follower", peer.Conditions{RTT: rtt})
		seat.Team = []Mate{{Node: lead.address, Speed: 1}, {Node: v.node("follower").address, Speed: 1}}
	}
	s, err := lead.load(b.Context(), seat)
	if err != nil {
		b.Fatal(err)
	}
	return s
}
