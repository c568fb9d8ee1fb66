package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"atoll/internal/bus"
	"atoll/internal/core"
)

// ErrFaults means that a text does not describe faults.
var ErrFaults = errors.New("faults not understood")

// maxFaultDelay is far beyond any lease's execution limit.
const maxFaultDelay = time.Hour

// Faults are the ways in which a node misbehaves on purpose, so that an operator
// can see in a rehearsal what that costs. The zero value is an honest node.
type Faults struct {
	// Lie is the share of results that are altered, in [0, 1].
	Lie float64
	// ShareLie makes the choice and the alteration a function of the task, the
	// part and its input alone, so that liars agree with each other.
	ShareLie bool
	// CrashAfter is after how many parts the agent dies without a word; 0: never.
	CrashAfter int
	// Delay is added to each run.
	Delay time.Duration
	// DropReport is the share of report messages that are lost on the way.
	DropReport float64
	// Seed makes this node's choices its own.
	Seed uint64
}

// ParseFaults reads a comma-separated list, each item at most once:
//
//	lie=0.3  share-lie  crash-after=20  delay=2s  drop-report=0.1  seed=7
//
// Empty text is no faults.
func ParseFaults(text string) (Faults, error) {
	var f Faults
	if text == "" {
		return f, nil
	}
	var seen []string
	for item := range strings.SplitSeq(text, ",") {
		name, value, hasValue := strings.Cut(item, "=")
		if slices.Contains(seen, name) {
			return Faults{}, fmt.Errorf("%w: %.40q is given twice", ErrFaults, name)
		}
		seen = append(seen, name)
		if err := f.set(name, value, hasValue); err != nil {
			return Faults{}, fmt.Errorf("%w: %.80q: %w", ErrFaults, item, err)
		}
	}
	if f.ShareLie && f.Lie == 0 {
		return Faults{}, fmt.Errorf("%w: share-lie without lie", ErrFaults)
	}
	return f, nil
}

func (f *Faults) set(name, value string, hasValue bool) (err error) {
	switch name {
	case "lie":
		f.Lie, err = parseShare(value)
	case "drop-report":
		f.DropReport, err = parseShare(value)
	case "share-lie":
		if f.ShareLie = true; hasValue {
			err = errors.New("takes no value")
		}
	case "crash-after":
		if f.CrashAfter, err = strconv.Atoi(value); err != nil || f.CrashAfter < 1 {
			err = errors.New("want a whole number of parts, at least 1")
		}
	case "delay":
		if f.Delay, err = time.ParseDuration(value); err != nil || f.Delay <= 0 || f.Delay > maxFaultDelay {
			err = errors.New("want a time such as 2s, at most 1h")
		}
	case "seed":
		if f.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
			err = errors.New("want a whole number")
		}
	default:
		err = errors.New("not one of lie, share-lie, crash-after, delay, drop-report, seed")
	}
	return err
}

func parseShare(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v > 0 && v <= 1) { // the form refuses NaN too
		return 0, errors.New("want a share over 0 and up to 1")
	}
	return v, nil
}

// Any reports whether there is anything to rehearse.
func (f Faults) Any() bool {
	f.Seed = 0
	return f != Faults{}
}

// String returns what ParseFaults reads.
func (f Faults) String() string {
	var items []string
	add := func(on bool, item string) {
		if on {
			items = append(items, item)
		}
	}
	share := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	add(f.Lie > 0, "lie="+share(f.Lie))
	add(f.ShareLie, "share-lie")
	add(f.CrashAfter > 0, "crash-after="+strconv.Itoa(f.CrashAfter))
	add(f.Delay > 0, "delay="+f.Delay.String())
	add(f.DropReport > 0, "drop-report="+share(f.DropReport))
	add(f.Seed > 0, "seed="+strconv.FormatUint(f.Seed, 10))
	return strings.Join(items, ",")
}

// LogValue shows them as they are given.
func (f Faults) LogValue() slog.Value { return slog.StringValue(f.String()) }

// Alter returns a result as this node delivers it: the true one, or a lie of
// the same length, so that nothing but the bytes gives it away.
func (f Faults) Alter(l *bus.Lease, data []byte) []byte {
	if f.Lie == 0 {
		return data
	}
	var h core.Digest
	if f.ShareLie {
		h = fingerprint("shared lie", uint64(l.Task), uint64(l.Part), l.Input[:])
	} else {
		h = fingerprint("lie", f.Seed, uint64(l.ID), nil)
	}
	if !chance(h, f.Lie) {
		return data
	}
	if len(data) == 0 {
		return h[:1]
	}
	lie := slices.Clone(data)
	at := binary.BigEndian.Uint64(h[8:]) % uint64(len(lie))
	lie[at] ^= h[16] | 1 // never zero, so never the truth
	return lie
}

// drops says whether the nth sending of a report is lost.
func (f Faults) drops(report int64, n int) bool {
	return f.DropReport > 0 && chance(fingerprint("drop", f.Seed^uint64(n)<<32, uint64(report), nil), f.DropReport)
}

func fingerprint(purpose string, a, b uint64, rest []byte) core.Digest {
	buf := append(make([]byte, 0, 80), purpose...)
	buf = binary.BigEndian.AppendUint64(buf, a)
	buf = binary.BigEndian.AppendUint64(buf, b)
	return sha256.Sum256(append(buf, rest...))
}

// chance is true for a share p of all fingerprints.
func chance(h core.Digest, p float64) bool {
	return float64(binary.BigEndian.Uint64(h[:])) < p*math.MaxUint64
}
