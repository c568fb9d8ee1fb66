package bench

import (
	"context"
	"errors"
	"io"
	"os"

	"atoll/internal/e2e"
)

// LossReport is what the death of nodes came to. Its JSON keys are stable.
type LossReport struct {
	Bench   string  `json:"bench"`
	Machine Machine `json:"machine"`
	e2e.LossReport
}

// Loss starts a hub and nodes in processes of their own in a temporary folder,
// and kills node after node (see e2e.NodeLoss).
func Loss(ctx context.Context, nodes, rounds int, log io.Writer) (_ *LossReport, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "atoll-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, err := e2e.NodeLoss(ctx, e2e.LossConfig{
		Config: e2e.Config{Binary: self, Dir: dir, Nodes: nodes, LogLevel: "error", Output: func(string) io.Writer { return log }}, Rounds: rounds,
	})
	if err != nil {
		return nil, err
	}
	return &LossReport{Bench: "node-loss", Machine: machine(), LossReport: *r}, nil
}
