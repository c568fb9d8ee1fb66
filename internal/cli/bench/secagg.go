package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathbits "math/bits"
	"time"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/secagg"
)

// SecAggConfig says which rounds to measure.
type SecAggConfig struct {
	Members  []int
	Dims     []int
	Dropouts []float64 // of all members, after they have shared and before they send
	Corrupt  float64   // that the graph is sized for
	Bits     int       // of an update's value; a word of a sum has ⌈log2 n⌉ more
	Most     int64     // bytes of masks that a round may take; longer vectors are extrapolated
	Watch    func(done, total int, what string)
}

// SecAggReport is what sums under masks cost. Its JSON keys are stable.
type SecAggReport struct {
	Bench   string      `json:"bench"`
	Machine Machine     `json:"machine"`
	Bits    int         `json:"bits"`
	Rows    []SecAggRow `json:"rows"`
}

// SecAggRow is a round among so many members.
type SecAggRow struct {
	Members      int     `json:"members"`
	Dim          int     `json:"dim"`
	Dropout      float64 `json:"dropout"`
	Degree       int     `json:"degree"`       // neighbours of a member; 0: all
	Client       float64 `json:"client_ms"`    // a member's work in all steps, the mean of those who stay
	Server       float64 `json:"server_s"`     // the hub's
	Vector       int     `json:"vector_bytes"` // that a member sends
	Others       int64   `json:"other_bytes"`  // that it sends and receives besides, as JSON
	Expansion    float64 `json:"expansion"`    // of the vector over the update in the clear
	Extrapolated bool    `json:"extrapolated"` // times: from rounds of two shorter vectors
}

// SecAgg runs the benchmark.
func SecAgg(ctx context.Context, cfg SecAggConfig) (*SecAggReport, error) {
	r := &SecAggReport{Bench: "secagg", Machine: machine(), Bits: cfg.Bits}
	total := len(cfg.Members) * len(cfg.Dims) * len(cfg.Dropouts)
	for _, n := range cfg.Members {
		for _, dropout := range cfg.Dropouts {
			for _, dim := range cfg.Dims {
				cfg.Watch(len(r.Rows), total, fmt.Sprintf("%d members, %d words", n, dim))
				row, err := secAggRow(ctx, &cfg, n, dim, dropout)
				if err != nil {
					return nil, fmt.Errorf("%d members, %d words, %.2f drop out: %w", n, dim, dropout, err)
				}
				r.Rows = append(r.Rows, row)
			}
		}
	}
	return r, nil
}

// secAggRow measures a round, or two shorter ones if it would take too many masks: what
// grows with the vector grows in proportion.
func secAggRow(ctx context.Context, cfg *SecAggConfig, n, dim int, dropout float64) (SecAggRow, error) {
	_, degree, _, err := secagg.Plan(n, dropout, cfg.Corrupt)
	if err != nil {
		return SecAggRow{}, err
	}
	each := degree
	if each == 0 {
		each = n - 1
	}
	fits := int(min(cfg.Most/int64(4*n*each), 1<<28))
	if dim <= fits {
		return secAggRound(ctx, cfg, n, dim, dropout)
	}
	if fits < 2 {
		return SecAggRow{}, fmt.Errorf("not even two words take under %d bytes of masks", cfg.Most)
	}
	short, err := secAggRound(ctx, cfg, n, fits/8+1, dropout)
	if err != nil {
		return short, err
	}
	row, err := secAggRound(ctx, cfg, n, fits, dropout)
	if err != nil {
		return row, err
	}
	beyond := float64(dim-row.Dim) / float64(row.Dim-short.Dim)
	row.Client += beyond * (row.Client - short.Client)
	row.Server += beyond * (row.Server - short.Server)
	row.Vector, row.Dim, row.Extrapolated = (dim*cfg.wordBits(n)+7)/8, dim, true
	row.Expansion = float64(row.Vector) / (float64(dim) * float64(cfg.Bits) / 8)
	return row, nil
}

func (cfg *SecAggConfig) wordBits(n int) int { return cfg.Bits + mathbits.Len(uint(n-1)) }

// secAggRun is one round that is being measured.
type secAggRun struct {
	server      *secagg.Server
	clients     []*secagg.Client
	stay        int // the first so many members send a vector
	client, hub time.Duration
	bytes       int64
	all         []secagg.Keys
	parts       []secagg.Part
	alive       []int
	quorum      []secagg.Agreement
	words       []uint32
}

func secAggRound(ctx context.Context, cfg *SecAggConfig, n, dim int, dropout float64) (row SecAggRow, err error) {
	p := &secagg.Params{Dim: dim, Bits: cfg.wordBits(n), Round: core.DigestOf([]byte("bench"))}
	if p.Threshold, p.Degree, p.Shares, err = secagg.Plan(n, dropout, cfg.Corrupt); err != nil {
		return row, err
	}
	run := &secAggRun{stay: n - int(dropout*float64(n)), words: make([]uint32, dim)}
	var keys []*identity.Key
	for i := range n {
		k, err := identity.Generate()
		if err != nil {
			return row, err
		}
		keys = append(keys, k)
		p.Members = append(p.Members, secagg.Member{Name: fmt.Sprintf("site-%04d", i), Key: k.Public()})
	}
	if run.server, err = secagg.NewServer(p); err != nil {
		return row, err
	}
	for i, k := range keys {
		c, err := secagg.NewClient(p, p.Members[i].Name, k.Sign, rand.Reader, new(secagg.MemoryJournal))
		if err != nil {
			return row, err
		}
		run.clients = append(run.clients, c)
	}
	for _, step := range []func(context.Context) error{run.advertise, run.share, run.mask, run.open} {
		if err := step(ctx); err != nil {
			return row, err
		}
	}
	return SecAggRow{
		Members: n, Dim: dim, Dropout: dropout, Degree: p.Degree, Client: run.client.Seconds() * 1000 / float64(run.stay), Server: run.hub.Seconds(),
		Vector: p.Packed(), Others: run.bytes, Expansion: float64(p.Packed()) / (float64(dim) * float64(cfg.Bits) / 8),
	}, nil
}

// each has members say something, and the hub take it. Of those who drop out later the
// time is not counted.
func (r *secAggRun) each(ctx context.Context, who int, say func(i int) (any, error), take func(i int, said any) error) error {
	for i := range who {
		if err := ctx.Err(); err != nil {
			return err
		}
		begin := time.Now()
		said, err := say(i)
		if err != nil {
			return err
		}
		if i < r.stay {
			r.client += time.Since(begin)
		}
		if i == 0 {
			r.count(said)
		}
		if err := r.timed(func() error { return take(i, said) }); err != nil {
			return err
		}
	}
	return nil
}

// timed runs what the hub does.
func (r *secAggRun) timed(do func() error) error {
	begin := time.Now()
	err := do()
	r.hub += time.Since(begin)
	return err
}

// count adds what the first member sends or receives.
func (r *secAggRun) count(message any) {
	b, err := json.Marshal(message)
	if err != nil { // never: all messages are written as JSON
		panic("bench: " + err.Error())
	}
	r.bytes += int64(len(b))
}

func (r *secAggRun) advertise(ctx context.Context) error {
	n := len(r.clients)
	err := r.each(ctx, n, func(i int) (any, error) { return r.clients[i].Advertise() },
		func(_ int, said any) error { return r.server.Advertise(said.(secagg.Keys)) })
	if err != nil {
		return err
	}
	if err := r.timed(func() (err error) { r.all, err = r.server.CloseKeys(); return err }); err != nil {
		return err
	}
	r.count(r.all)
	if r.server.Step() == secagg.Revealing {
		err := r.each(ctx, n, func(i int) (any, error) { return r.clients[i].Reveal(r.all) },
			func(_ int, said any) error { return r.server.Reveal(said.(secagg.Part)) })
		if err != nil {
			return err
		}
	}
	return r.timed(func() (err error) { r.parts, err = r.server.CloseLot(); return err })
}

func (r *secAggRun) share(ctx context.Context) error {
	r.count(r.parts)
	err := r.each(ctx, len(r.clients), func(i int) (any, error) { return r.clients[i].Share(r.all, r.parts) },
		func(i int, said any) error { return r.server.Share(i, said.([]secagg.Sealed)) })
	if err != nil {
		return err
	}
	if err := r.timed(r.server.CloseShares); err != nil {
		return err
	}
	r.count(r.server.Inbox(0))
	return nil
}

func (r *secAggRun) mask(ctx context.Context) error {
	var vector []byte // counted by itself
	err := r.each(ctx, r.stay, func(i int) (any, error) {
		v, in, err := r.clients[i].Mask(r.server.Inbox(i), r.words)
		vector = v
		return in, err
	}, func(_ int, said any) error { return r.server.Mask(vector, said.(secagg.Included)) })
	if err != nil {
		return err
	}
	if err := r.timed(func() (err error) { r.alive, err = r.server.CloseVectors(); return err }); err != nil {
		return err
	}
	r.count(r.alive)
	r.count(r.server.Included(0))
	return r.each(ctx, r.stay, func(i int) (any, error) { return r.clients[i].Agree(r.alive, r.server.Included(i)) },
		func(_ int, said any) error { return r.server.Agree(said.(secagg.Agreement)) })
}

func (r *secAggRun) open(ctx context.Context) error {
	if err := r.timed(func() (err error) { r.quorum, err = r.server.CloseAgreement(); return err }); err != nil {
		return err
	}
	r.count(r.quorum)
	err := r.each(ctx, r.stay, func(i int) (any, error) { return r.clients[i].Open(r.alive, r.quorum) },
		func(_ int, said any) error { return r.server.Open(said.(*secagg.Opening)) })
	if err != nil {
		return err
	}
	return r.timed(func() error {
		sum, err := r.server.Sum()
		for _, w := range sum {
			if w != 0 { // all vectors were zeros
				return fmt.Errorf("the sum is wrong")
			}
		}
		return err
	})
}
