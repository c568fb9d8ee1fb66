package api

import (
	"time"

	"atoll/internal/core"
)

// States of a federation.
const (
	FederationRunning = "running"
	FederationPaused  = "paused"
	FederationDone    = "done"
	FederationStopped = "stopped" // by its owner
	FederationFailed  = "failed"
)

// Federation is a run of federated learning: one model, trained over the rows of many
// owners, who keep them.
type Federation struct {
	ID      core.FederationID `json:"id"`
	Account core.AccountID    `json:"account"`
	Name    string            `json:"name"`
	State   string            `json:"state" enum:"running,paused,done,stopped,failed"`
	Why     string            `json:"why,omitempty" doc:"of a state that is not running or done"`
	Dataset string            `json:"dataset"`
	Purpose string            `json:"purpose,omitempty"`
	Spec    core.Digest       `json:"spec_digest"`
	Run     core.Digest       `json:"run_digest" doc:"of the ID, the specification and all sites with their keys"`
	Sites   []FederationSite  `json:"sites"`
	Round   int               `json:"round" doc:"under way, from 1; one more than rounds only measures"`
	Rounds  int               `json:"rounds"`
	Attempt int               `json:"attempt" doc:"at the round"`
	Step    string            `json:"step,omitempty" doc:"of the round, which sites are waited for"`
	Waiting []string          `json:"waiting,omitempty" doc:"for these sites"`
	Hidden  string            `json:"hidden" doc:"what the hub sees of an update"`
	Unit    string            `json:"privacy_unit,omitempty" enum:"record,customer,site"`
	Epsilon float64           `json:"epsilon,omitempty" doc:"told of one unit by now, at most"`
	Delta   float64           `json:"delta,omitempty"`
	Last    *FederationRound  `json:"last,omitempty" doc:"the newest round that is over"`
	Created time.Time         `json:"created_at"`
	Ended   *time.Time        `json:"ended_at,omitempty"`
	Next    *time.Time        `json:"next_at,omitempty" doc:"when it is to run again, by its schedule"`
}

// FederationSite is a node that takes part with its dataset.
type FederationSite struct {
	Node    core.NodeID    `json:"node"`
	Owner   core.AccountID `json:"owner"`
	Country string         `json:"country"`
	Key     core.Digest    `json:"key_digest" doc:"of the node's public key: what owners pin"`
	Heard   bool           `json:"heard" doc:"it has asked for orders within seconds"`
}

// FederationRoster is who would take part in a federation now.
type FederationRoster struct {
	Sites    []FederationSite `json:"sites"`
	Excluded []ExcludedSite   `json:"excluded,omitempty"`
	Fewest   int              `json:"fewest" doc:"sites without which the federation does not begin"`
}

// ExcludedSite is a node that could not take part.
type ExcludedSite struct {
	Node core.NodeID `json:"node"`
	Why  string      `json:"why"`
}

// FederationRound is what has come of a round.
type FederationRound struct {
	Number   int              `json:"number"`
	Attempts int              `json:"attempts"`
	Sites    []core.NodeID    `json:"sites" doc:"in the sum"`
	Out      []ExcludedSite   `json:"out,omitempty" doc:"not in the sum"`
	Rows     int64            `json:"rows" doc:"that the sites count for"`
	Held     int64            `json:"held_out" doc:"rows on which the model was measured with which the round began; 0 under privacy"`
	Accuracy float64          `json:"accuracy" doc:"on these"`
	Loss     float64          `json:"loss" doc:"on these, in nats a row"`
	Bytes    int64            `json:"bytes" doc:"of updates that have come"`
	Seconds  float64          `json:"seconds"`
	Epsilon  float64          `json:"epsilon,omitempty" doc:"told of one unit by the end of the round, at most"`
	Sum      core.Digest      `json:"sum_digest" doc:"of what the hub has unmasked"`
	Params   core.Digest      `json:"params_digest" doc:"of the parameters with which the round ended"`
	LogIndex int64            `json:"log_index" doc:"of its receipt"`
	EndedAt  time.Time        `json:"ended_at"`
	Groups   []FederatedGroup `json:"groups,omitempty" doc:"with a robust rule"`
}

// FederatedGroup is of sites that were added up together, or why they were not.
type FederatedGroup struct {
	Sites []core.NodeID `json:"sites"`
	Why   string        `json:"why,omitempty"`
}

// SiteReport is what a node says when it asks for orders.
type SiteReport struct {
	Datasets []SiteDataset `json:"datasets"`
	// Working names orders that it has and works on: it asks for others.
	Working []SiteOrder `json:"working,omitempty"`
}

// SiteDataset is a dataset that federations may learn from at a node, on terms that the
// node keeps to itself.
type SiteDataset struct {
	Name   string      `json:"name"`
	Schema core.Digest `json:"schema_digest"`
}

// SiteOrder names an order to a site.
type SiteOrder struct {
	Federation core.FederationID `json:"federation"`
	Round      int               `json:"round"`
	Attempt    int               `json:"attempt"`
	Step       string            `json:"step"`
}

// SiteRoster is what a node is told of a federation that it is to take part in.
type SiteRoster struct {
	Federation core.FederationID  `json:"federation"`
	Run        core.Digest        `json:"run_digest"`
	Spec       []byte             `json:"spec"`
	Members    []FederationMember `json:"members" doc:"in the order by which orders number them"`
	Over       bool               `json:"over,omitempty" doc:"there will be no more orders"`
}

// FederationMember is one of those whose updates are added up.
type FederationMember struct {
	Name string `json:"name"`
	Key  string `json:"key" doc:"PEM"`
}

// Limits of a SiteReport.
const (
	MaxSiteDatasets = 256
	MaxSiteWorking  = 64
)

// Validate refuses a report that no node makes.
func (r *SiteReport) Validate() error {
	if len(r.Datasets) > MaxSiteDatasets || len(r.Working) > MaxSiteWorking {
		return core.Errorf(core.Invalid, "%d datasets, %d orders at work: at most %d and %d", len(r.Datasets), len(r.Working), MaxSiteDatasets, MaxSiteWorking)
	}
	for _, d := range r.Datasets {
		if err := core.CheckName("dataset", d.Name); err != nil {
			return core.Errorf(core.Invalid, "%w", err).At("datasets")
		}
	}
	return nil
}
