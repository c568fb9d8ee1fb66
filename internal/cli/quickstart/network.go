package quickstart

import (
	"context"
	"log/slog"

	"atoll/internal/core"
)

// NetworkConfig is a hub with nodes in one process, for a rehearsal.
type NetworkConfig struct {
	Dir    string // for everything that is kept; made if missing
	Listen string // host:port on loopback
	Nodes  []NodeConfig
	Log    *slog.Logger
}

// NodeConfig is one node of the rehearsal. The network opens its owner's account.
type NodeConfig struct {
	Name    core.NodeID
	Owner   core.AccountID
	Country string
	Price   core.Money
	// Faults are how it misbehaves, as "atoll node run --inject-fault" takes
	// them. A node that crashes falls silent; it does not end the process.
	Faults string
}

// Network is a running network whose nodes have all joined.
type Network struct {
	URL      string
	AdminKey string
	Stop     func() error            // ends it and waits
	Kill     func(core.NodeID) error // ends a node at once, as a power cut would
}

// StartNetwork is how package app starts one.
type StartNetwork func(ctx context.Context, cfg NetworkConfig) (*Network, error)

// Nodes are the cast: four owners in the EU, of whom two have two nodes, and one
// outside. One of two nodes dies in the middle, so that three honest owners and a
// liar remain; the liar is the cheapest that may be used. When he is found out,
// four honest nodes are left: three that hold a model together, and a spare.
func Nodes(seed uint64) []NodeConfig {
	const cent = core.Credit / 100
	return []NodeConfig{
		{Name: "paris-1", Owner: "alice", Country: "FR", Price: 3 * cent},
		{Name: "paris-2", Owner: "alice", Country: "FR", Price: 3 * cent, Faults: "crash-after=9"},
		{Name: "rome-1", Owner: "bob", Country: "IT", Price: 4 * cent},
		{Name: "rome-2", Owner: "bob", Country: "IT", Price: 4 * cent},
		{Name: "bonn-1", Owner: "carol", Country: "DE", Price: 2 * cent, Faults: "lie=0.33" + seedFault(seed)},
		{Name: "lyon-1", Owner: "dave", Country: "FR", Price: 3 * cent},
		{Name: "ohio-1", Owner: "erin", Country: "US", Price: 1 * cent},
	}
}
