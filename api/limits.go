package api

import (
	"time"

	"atoll/internal/core"
)

// Limits of a task specification. What one hub allows may be less.
const (
	MaxInputs   = 64
	MaxReplicas = 9
	MaxAttempts = 10
	// MaxPhase bounds timeout.queue and timeout.execution, MaxTotal the whole
	// task, deadline and disconnect included.
	MaxPhase = 24 * time.Hour
	MaxTotal = 7 * 24 * time.Hour

	// minPhase bounds timeouts from below: what no node can meet would tell nothing
	// of nodes.
	minPhase     = 100 * time.Millisecond
	minLostAfter = time.Second
	// MaxPenalty is how much of the price sla.penalty may take, in thousandths, and
	// minPenalLatency from when on: nobody gets work for nothing by asking the
	// impossible. Nodes have limits of their own besides.
	MaxPenalty      = 500
	minPenalLatency = time.Second
	maxURL          = 8 << 10 // bytes of a URL, except data:
	maxParams       = 128     // entries
	maxParamName    = 64      // bytes
	maxNonce        = 64      // bytes
	maxSpan         = 1 << 20 // tokens
	maxDepth        = 32      // of a value in params
	maxList         = 64      // regions, residency
	maxName         = 63      // bytes of a region or GPU type
	maxGPUs         = 64
	maxCPU          = 1 << 20 // cores
	maxMemory       = 1 << 50 // bytes
)

// Defaults that WithDefaults fills in.
const (
	defaultQueue     = Duration(time.Minute)
	defaultExecution = Duration(30 * time.Second)
	defaultTotal     = Duration(5 * time.Minute)
	defaultAttempts  = 3
	defaultLostAfter = Duration(2500 * time.Millisecond)
	defaultReplicas  = 3
	defaultRate      = 0.1
	defaultMaxCost   = core.Credit
)
