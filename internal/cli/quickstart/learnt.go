package quickstart

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"runtime"

	"atoll/examples/federation"
	"atoll/internal/fed"
	"atoll/internal/fed/simulate"
	"atoll/internal/repro"
	"atoll/internal/table"
)

// Learnt is a model that four banks have trained together, each on its own rows, under
// masks: simulated, for the banks are not apart.
type Learnt struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	AUC     float64 `json:"auc"`    // of the model of all, on rows that none has trained on
	Pooled  float64 `json:"pooled"` // of one that was trained with all rows in one place
	Worst   float64 `json:"worst"`  // of those that each bank trains alone
	Best    float64 `json:"best"`
	Left    string  `json:"left"`  // who left in the middle
	Round   int     `json:"round"` // of this round
	Shown   string  `json:"shown"`
	Seen    string  `json:"seen"` // the first bytes of one update as the hub saw it
	// Set is the share of bits that are set in all that the hub saw of single updates, and
	// Counted and Rows are the rows held out: as the masked sum counts them, and as they are.
	Set     float64 `json:"bits_set"`
	Counted int64   `json:"counted"`
	Rows    int64   `json:"rows"`
}

// How the banks learn.
const (
	banks     = 4
	leaves    = 3 // from 0
	leaveIn   = 2
	bitsNoise = 0.02 // from a half: six standard deviations
)

// learn is the act in which four banks train a model, of whom one leaves in the middle of
// a round.
func (r *rehearsal) learn(ctx context.Context) error {
	text, err := federation.Files.ReadFile("loans.yaml")
	if err != nil {
		return err
	}
	spec, err := fed.Read(text, federation.Files.ReadFile)
	if err != nil {
		return err
	}
	rows, err := federation.Files.ReadFile("loans.csv")
	if err != nil {
		return err
	}
	pool, err := repro.NewPool(runtime.GOMAXPROCS(0), repro.Portable)
	if err != nil {
		return err
	}
	defer pool.Close()
	l := &Learnt{Rounds: spec.Rounds, Round: leaveIn}
	set, all := 0, 0
	res, err := simulate.Run(ctx, simulate.Config{
		Spec: spec, Pool: pool, Partition: table.Partition{Sites: banks, Column: "bank", Seed: 1},
		Rows: func(res *table.Resource) iter.Seq2[table.Row, error] {
			return res.ReadCSV("loans.csv", bytes.NewReader(rows))
		},
		Drop: func(site int, o *fed.Order) bool {
			return site == leaves && o.Round == leaveIn && o.Step == fed.StepVector
		},
		Seen: func(reply *fed.Reply) {
			if l.Seen == "" && len(reply.Vector) > 0 {
				l.Shown, l.Seen = name(reply.Site), fmt.Sprintf("% x", reply.Vector[:8])
			}
			for _, b := range reply.Vector {
				set += bits.OnesCount8(b)
			}
			all += 8 * len(reply.Vector)
		},
	})
	if err != nil {
		return fmt.Errorf("learn together: %w", err)
	}
	left := res.State.Rounds[leaveIn-1]
	last := res.State.Rounds[len(res.State.Rounds)-1]
	l.Seconds, l.Left, l.Set = res.Ran.Seconds(), name(leaves), float64(set)/float64(max(all, 1))
	l.Counted, l.Rows = last.Counts.Held, int64(res.Federated.Rows)
	report := res.Report()
	l.AUC, l.Pooled, l.Worst = report.Models[0].AUC, report.Models[1].AUC, 1
	for _, m := range report.Models[2:] {
		l.Worst, l.Best = min(l.Worst, m.AUC), max(l.Best, m.AUC)
	}
	r.out.Learnt = l
	r.check("rows_stay", math.Abs(l.Set-0.5) < bitsNoise && l.Counted == l.Rows && len(left.Sites) == banks-1,
		fmt.Sprintf("each bank's update was noise to the hub, and the sum exact: %d of %d rows", l.Counted, l.Rows),
		fmt.Sprintf("%.3f of the bits are set, %d sites in round %d", l.Set, len(left.Sites), leaveIn))
	return nil
}

func name(site int) string { return fmt.Sprintf("bank-%d", site+1) }
