package core

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// IDs are positive 63-bit integers: 41 bits of milliseconds since idEpoch, then
// 22 bits that start random in each millisecond and count up within it. They
// sort by time, so that SQL inserts go to the right edge of the tree.
//
// Outside the process an ID is a prefix and 13 letters of Crockford's base 32,
// as in "task_0c3v7k9qmbn4a".
type (
	TaskID  int64
	LeaseID int64
	// TransferID names one movement in the ledger.
	TransferID int64
	// FileID names content that an account keeps. It is written as in OpenAI's API,
	// "file-0c3v7k9qmbn4a".
	FileID int64
	// FederationID names one run of a federation.
	FederationID int64
)

const (
	idEpochMillis = 1_735_689_600_000 // 2025-01-01T00:00:00Z
	idSeqBits     = 22
	idAlphabet    = "0123456789abcdefghjkmnpqrstvwxyz"
	idLetters     = 13
	idRoom        = len("lease_") + idLetters // for the longest text form
)

// IDSource hands out IDs that never repeat and never decrease within one
// process, also when the clock steps back. It is safe for concurrent use.
type IDSource struct {
	mu   sync.Mutex
	now  func() time.Time
	rand func() uint32
	last int64
}

// NewIDSource returns a source over the given clock and randomness; nil means
// the real ones.
func NewIDSource(now func() time.Time, random func() uint32) *IDSource {
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = func() uint32 {
			var b [4]byte
			_, _ = rand.Read(b[:]) // never fails since Go 1.24
			return binary.LittleEndian.Uint32(b[:])
		}
	}
	return &IDSource{now: now, rand: random}
}

// Next returns a fresh ID.
func (s *IDSource) Next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := max(s.now().UnixMilli()-idEpochMillis, 1)
	if ms > s.last>>idSeqBits {
		// Half the range is left to count in.
		s.last = ms<<idSeqBits | int64(s.rand()&(1<<(idSeqBits-1)-1))
	} else {
		s.last++
	}
	return s.last
}

// FirstIDAt is less than any ID made at that moment or later, while the clock does not
// step back.
func FirstIDAt(at time.Time) int64 {
	return max(at.UnixMilli()-idEpochMillis, 0) << idSeqBits
}

// NotBefore makes every later ID greater than id. A restarted process calls it
// with the greatest ID it has stored.
func (s *IDSource) NotBefore(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, id)
}

func (id TaskID) String() string     { return formatID("task_", int64(id)) }
func (id LeaseID) String() string    { return formatID("lease_", int64(id)) }
func (id TransferID) String() string { return formatID("xfer_", int64(id)) }
func (id FileID) String() string     { return formatID("file-", int64(id)) }

func (id FederationID) String() string { return formatID("fed_", int64(id)) }

func (id TaskID) MarshalText() ([]byte, error)     { return id.AppendText(make([]byte, 0, idRoom)) }
func (id LeaseID) MarshalText() ([]byte, error)    { return id.AppendText(make([]byte, 0, idRoom)) }
func (id TransferID) MarshalText() ([]byte, error) { return id.AppendText(make([]byte, 0, idRoom)) }

func (id TaskID) AppendText(b []byte) ([]byte, error)  { return appendID(b, "task_", int64(id)), nil }
func (id LeaseID) AppendText(b []byte) ([]byte, error) { return appendID(b, "lease_", int64(id)), nil }
func (id TransferID) AppendText(b []byte) ([]byte, error) {
	return appendID(b, "xfer_", int64(id)), nil
}
func (id FileID) AppendText(b []byte) ([]byte, error) { return appendID(b, "file-", int64(id)), nil }
func (id FileID) MarshalText() ([]byte, error)        { return id.AppendText(make([]byte, 0, idRoom)) }

func (id FederationID) AppendText(b []byte) ([]byte, error) {
	return appendID(b, "fed_", int64(id)), nil
}
func (id FederationID) MarshalText() ([]byte, error) { return id.AppendText(make([]byte, 0, idRoom)) }

func (id *TaskID) UnmarshalText(b []byte) error     { return unmarshalID("task_", b, (*int64)(id)) }
func (id *LeaseID) UnmarshalText(b []byte) error    { return unmarshalID("lease_", b, (*int64)(id)) }
func (id *TransferID) UnmarshalText(b []byte) error { return unmarshalID("xfer_", b, (*int64)(id)) }
func (id *FileID) UnmarshalText(b []byte) error     { return unmarshalID("file-", b, (*int64)(id)) }

func (id *FederationID) UnmarshalText(b []byte) error { return unmarshalID("fed_", b, (*int64)(id)) }

// ParseTaskID reads the text form.
func ParseTaskID(s string) (id TaskID, err error) { return id, id.UnmarshalText([]byte(s)) }

// ParseLeaseID reads the text form.
func ParseLeaseID(s string) (id LeaseID, err error) { return id, id.UnmarshalText([]byte(s)) }

// ParseFileID reads the text form.
func ParseFileID(s string) (id FileID, err error) { return id, id.UnmarshalText([]byte(s)) }

func formatID(prefix string, v int64) string {
	var b [idRoom]byte
	return string(appendID(b[:0], prefix, v))
}

func appendID(b []byte, prefix string, v int64) []byte {
	b = append(b, prefix...)
	for shift := 5 * (idLetters - 1); shift >= 0; shift -= 5 {
		b = append(b, idAlphabet[uint64(v)>>shift&31])
	}
	return b
}

func unmarshalID(prefix string, text []byte, out *int64) error {
	s, ok := strings.CutPrefix(string(text), prefix)
	if !ok || len(s) != idLetters {
		return fmt.Errorf("%.40q is not an ID of the form %s followed by %d letters", text, prefix, idLetters)
	}
	var u uint64
	for i := range idLetters {
		d := strings.IndexByte(idAlphabet, s[i])
		if d < 0 || (i == 0 && d > 7) {
			return fmt.Errorf("%.40q is not an ID: letter %q is out of place", text, s[i])
		}
		u = u<<5 | uint64(d)
	}
	*out = int64(u)
	return nil
}

// Names of nodes and accounts are their IDs: short, readable, safe in URLs,
// subjects and file names.
type (
	NodeID    string
	AccountID string
)

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName refuses what is not usable as the name of a node, account or model.
func CheckName(kind, s string) error {
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%s name %.80q: want 1 to 63 of a-z, 0-9 and -, not starting or ending with -", kind, s)
	}
	return nil
}
