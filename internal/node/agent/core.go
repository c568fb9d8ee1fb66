package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/identity"
	"atoll/internal/node/outbox"
	"atoll/internal/peer"
	"atoll/internal/shard/charter"
)

// Outbox is where reports are kept until they are acknowledged: outbox.Outbox,
// or outbox.Memory under a simulator.
type Outbox interface {
	// Put stores reports and forgets others, both or neither, durably before it
	// returns. An error stops the agent.
	Put(add []outbox.Entry, forget []int64) error
	All() ([]outbox.Entry, error)
}

// Signer makes the receipt of a group of finished leases of one account: a DSSE
// envelope in JSON. It is called beside the Core, one call at a time.
type Signer interface {
	Sign(account core.AccountID, done []Finished) (json.RawMessage, error)
}

// CoreConfig is what a Core knows from the start.
type CoreConfig struct {
	Node   core.NodeID
	Hub    string             // the one hub whose leases are taken
	HubKey identity.PublicKey // its key, as pinned when the node joined
	Boot   string             // new for each life of the agent
	// Offer is what the node offers, and what it takes leases against: price
	// floor, country, labels, engines, CPU, memory, accounts, slots and queue.
	Offer    bus.NodeOffer
	MaxInput int64 // bytes of one part's input; 0: any
	MaxModel int64 // bytes of one model; 0: any
	// MaxPenalty is how much of a price may be withheld for lateness, in thousandths.
	MaxPenalty int
	Faults     Faults
	Signer     Signer
	Outbox     Outbox
}

func (c *CoreConfig) check() error {
	switch {
	case c.HubKey.IsZero() || c.Hub == "" || c.Node == "" || c.Boot == "":
		return errors.New("agent: node, boot, hub or the hub's key is missing")
	case c.Signer == nil || c.Outbox == nil:
		return errors.New("agent: signer or outbox is missing")
	case c.Offer.Slots < 1 || c.Offer.Queue < c.Offer.Slots || c.Offer.Queue > maxQueue:
		return fmt.Errorf("agent: %d slots and a queue of %d: want at least 1 slot and a queue from there to %d",
			c.Offer.Slots, c.Offer.Queue, maxQueue)
	case c.Offer.Price < 0 || c.Offer.Price > core.MaxMoney:
		return fmt.Errorf("agent: price %s", c.Offer.Price)
	}
	return nil
}

// Effects are what the world is to do after a step, in any order between the
// lists, but in order within Send.
type Effects struct {
	Send   []Message
	Start  []Start
	Stop   []core.LeaseID // runs whose result nobody wants; Done still follows
	Upload []Upload
	Keep   []bus.KeptModel // models to hold in memory, as far as it suffices
	// Charters are lines that this node may hold layers for.
	Charters []*charter.Charter
	// Probe are nodes to which the way is to be measured. Ways follows.
	Probe []peer.Address
	// Die is set by the fault crash-after: the process ends here and now.
	Die bool
}

// Message goes to the hub. It may be lost.
type Message struct {
	Kind        string
	Data        []byte
	Traceparent string
}

// Start is a part to run now. Running follows when its model and input are at
// hand, and Done when it is over, whatever happened. At most Offer.Slots are
// between Start and Done, or Uploaded where an Upload came of it.
type Start struct {
	Lease *bus.Lease // not to be changed
	Delay time.Duration
}

// Upload is a result too large for a message, to be put to the hub over HTTP.
// Uploaded follows.
type Upload struct {
	Lease core.LeaseID
	Data  []byte
}

// Outcome is what came of a run: Data, or one of Failure and Fault.
type Outcome struct {
	Data     []byte
	Accounts []byte // of a line's nodes, see engine.Output
	// Failure says that the part or its model is at fault, in words that every
	// node would find: the lease is reported as failed.
	Failure string
	// Fault says that this node could not do it: the lease is refused, and the
	// hub gives it to another.
	Fault             string
	Usage             engine.Usage
	Started, Finished time.Time
}

// Finished is a lease ready to be signed.
type Finished struct {
	Lease *bus.Lease
	Outcome
	Result   core.Digest // of Data, or of the failure's text
	Uploaded bool
}

// Core is the deterministic half of an agent; see the package comment. It is not
// safe for concurrent use. After a crash, or an error of Committed, it is gone:
// a new one over the same outbox takes its place.
type Core struct {
	cfg   CoreConfig
	rules rules
	clock clock

	held  map[core.LeaseID]*held
	queue []*held // queued, oldest first
	// queueExpiry is when the first of the queue expires at the earliest, by the
	// hub's clock in ms.
	queueExpiry int64
	running     int   // slots in use
	cpu, mem    int64 // of the running leases
	finished    []*held
	storeDue    time.Duration // when finished is to be stored at the latest
	memory      *memory
	parts       int // runs ended, for crash-after
	counts      Counts
	draining    bool
	committed   bool // a Batch is out

	reports     map[int64]*report
	byLease     map[core.LeaseID]*report
	order       []*report // by ID; acknowledged ones are skipped
	outboxBytes int
	nextReport  int64
	forget      []int64
	forgetDue   time.Duration
	resendDue   time.Duration
	unstored    []outbox.Entry // only with planted.Send

	beat    uint64
	beatDue time.Duration
	status  pendingStatus
}

// Counts are leases by what became of them in this life of the agent.
type Counts struct{ Accepted, Refused, Cancelled, Acknowledged int64 }

// held is a lease from its acceptance until its report is stored.
type held struct {
	lease     bus.Lease
	state     state
	cancelled bool
	out       Outcome
	uploaded  bool
	told      bool // its acceptance
	toldStart bool
	inNews    bool
}

type state int

const (
	queued state = iota
	starting
	running
	uploading
	finished
)

// never is a moment that does not come.
const never = time.Duration(1<<63 - 1)

// NewCore returns a core that remembers what is in the outbox.
func NewCore(now time.Time, cfg CoreConfig) (*Core, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Core{
		cfg:         cfg,
		clock:       clock{last: now},
		held:        map[core.LeaseID]*held{},
		memory:      newMemory(),
		reports:     map[int64]*report{},
		byLease:     map[core.LeaseID]*report{},
		queueExpiry: math.MaxInt64, storeDue: never, forgetDue: never, resendDue: never,
		status: pendingStatus{due: never, last: -statusEvery},
	}
	c.rules.cfg = &c.cfg
	c.clock.observe(now.UnixMilli())
	entries, err := cfg.Outbox.All()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		c.keep(e, "", 0)
		c.nextReport = max(c.nextReport, e.ID)
	}
	return c, nil
}

// Counts returns what has become of the leases so far.
func (c *Core) Counts() Counts { return c.counts }

// Holding counts the leases taken and not yet stored in the outbox.
func (c *Core) Holding() int { return len(c.held) }

// Unacknowledged counts the reports in the outbox.
func (c *Core) Unacknowledged() int { return len(c.reports) }

// Idle reports whether the agent can end without leaving anything undone.
func (c *Core) Idle() bool {
	return len(c.held) == 0 && len(c.reports) == 0 && len(c.forget) == 0 && !c.committed && c.status.empty()
}

// step does everything that is due, whatever the event was.
func (c *Core) step(fx *Effects) {
	c.startQueued(fx)
	c.sendStatus(fx)
	c.sendBeat(fx)
	c.resend(fx)
}
