package quickstart

import (
	"strconv"
	"strings"

	"atoll/internal/core"
)

// Result is all that a rehearsal has shown. Every number in it was computed from
// the hub's answers and the files it gave out. Its JSON keys are stable.
type Result struct {
	URL          string      `json:"url"`
	Owners       int         `json:"owners"`
	Task         core.TaskID `json:"task"`
	Model        string      `json:"model"`
	State        string      `json:"state"`
	Reason       string      `json:"reason"`
	Requests     int         `json:"requests"`
	Parts        int         `json:"parts"`
	PartsDone    int         `json:"parts_done"`
	Replicas     int         `json:"replicas"`
	Agree        int         `json:"agree"`
	Residency    []string    `json:"residency"`
	Seconds      float64     `json:"seconds"`       // from submit to verified result
	TrainSeconds float64     `json:"train_seconds"` // on this machine
	Cost         core.Money  `json:"cost"`
	Budget       core.Money  `json:"budget"`
	Refunded     core.Money  `json:"refunded"`
	Accuracy     float64     `json:"accuracy"` // share of right answers
	Majority     float64     `json:"majority"` // what always naming the most frequent label would score
	Example      *Answer     `json:"example,omitempty"`
	Nodes        []NodeRow   `json:"nodes"`
	Receipts     int         `json:"receipts"`
	Verified     int         `json:"receipts_verified"`
	Verdicts     int         `json:"verdicts"`
	Judged       int         `json:"verdicts_verified"`
	Tampered     string      `json:"tampered"` // how the changed copy was refused
	Story        *Story      `json:"story"`
	Together     *Together   `json:"together"`
	Learnt       *Learnt     `json:"learnt"`
	Checks       []Check     `json:"checks"`
	OK           bool        `json:"ok"`
}

// Answer is one classified request.
type Answer struct {
	Text    string   `json:"text"`
	Label   string   `json:"label"`
	P       string   `json:"p"` // decimal, as the model gives it
	Reasons []string `json:"reasons"`
}

// NodeRow is what a node did, and what became of it.
type NodeRow struct {
	Node            core.NodeID    `json:"node"`
	Owner           core.AccountID `json:"owner"`
	Country         string         `json:"country"`
	Price           core.Money     `json:"price"`
	OK              int            `json:"ok"`    // leases passed
	Bad             int            `json:"bad"`   // leases rejected
	Moved           int            `json:"moved"` // leases lost and done elsewhere
	Paid            core.Money     `json:"paid"`
	ReliabilityFrom float64        `json:"reliability_from"`
	ReliabilityTo   float64        `json:"reliability_to"`
	State           string         `json:"state"`
	NotChosen       string         `json:"not_chosen,omitempty"` // why the market did not use it
}

func (n *NodeRow) used() bool { return n.OK+n.Bad+n.Moved > 0 }

// Note is a node's story in a few words, or "".
func (n *NodeRow) Note() string {
	switch {
	case !n.used() && strings.HasPrefix(n.NotChosen, "residency "):
		rule, _, _ := strings.Cut(n.NotChosen, ":") // the rest repeats the row
		return "refused: " + rule
	case !n.used() && n.NotChosen != "":
		return "not used: " + n.NotChosen
	case n.Moved > 0 && n.State == "silent":
		return "DIED, " + plural(n.Moved, "part") + " moved"
	case n.Moved > 0:
		return "LATE, " + plural(n.Moved, "part") + " moved"
	case n.Bad > 0:
		return "LIED, its " + plural(n.Bad, "wrong part") + " unpaid"
	}
	return ""
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// Check is a promise that was looked into.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
	Detail string `json:"detail,omitempty"` // what was wrong
}
