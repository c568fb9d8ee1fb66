package bus

import (
	"errors"
	"fmt"
	"strings"

	"atoll/internal/core"
)

// Errors of sending. None says whether the message has arrived.
var (
	ErrDisconnected = errors.New("bus not connected")
	ErrClosed       = errors.New("bus connection closed")
	ErrTooLarge     = errors.New("message too large")
	ErrName         = errors.New("bad name on the bus")
)

// Inbound is a received message. On a hub Node is the sender, as enforced by the
// server; on a node it is the node itself. Data belongs to the receiver.
type Inbound struct {
	Node        core.NodeID
	Kind        string
	Data        []byte
	Traceparent string
}

// HubLink is a hub's end of the bus: HubConn, or a simulated network.
//
// Subscribe is called once. Its handler is called for one message at a time, and
// what it does not keep up with is dropped.
type HubLink interface {
	Send(node core.NodeID, kind string, data []byte, traceparent string) error
	Subscribe(handler func(Inbound)) error
}

// NodeLink is a node's end of the bus: NodeConn, or a simulated network. See
// HubLink for Subscribe.
type NodeLink interface {
	Send(kind string, data []byte, traceparent string) error
	Subscribe(handler func(Inbound)) error
}

const (
	subjectRoot = "node."
	inward      = ".in."
	outward     = ".out."
	nameMacro   = "{{name()}}" // filled in by the server with the user's name
)

func inSubject(node, rest string) string  { return subjectRoot + node + inward + rest }
func outSubject(node, rest string) string { return subjectRoot + node + outward + rest }

// splitSubject takes node and kind out of a subject of one direction.
func splitSubject(subject, direction string) (core.NodeID, string, error) {
	rest, ok := strings.CutPrefix(subject, subjectRoot)
	if ok {
		node, kind, found := strings.Cut(rest, direction)
		if found && node != "" && !strings.Contains(node, ".") && checkKind(kind) == nil {
			return core.NodeID(node), kind, nil
		}
	}
	return "", "", fmt.Errorf("%w: subject %.120q", ErrName, subject)
}

// checkKind keeps a kind to one plain token of a subject.
func checkKind(kind string) error {
	ok := kind != "" && len(kind) <= maxKind
	for i := 0; ok && i < len(kind); i++ {
		c := kind[i]
		ok = c == '-' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
	}
	if !ok {
		return fmt.Errorf("%w: kind %.40q: want 1 to %d of a-z, 0-9 and -", ErrName, kind, maxKind)
	}
	return nil
}
