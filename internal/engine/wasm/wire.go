package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"atoll/internal/engine"
)

// Kinds of frames and states of answers; see the package comment.
const (
	kindLoad = 1
	kindRun  = 2

	statusDone    = 0
	statusFailed  = 1
	statusLimit   = 2
	statusRefused = 3

	loadHeader  = 4
	runHeader   = 1 + 8 + 8 + 4
	ranHeader   = 1 + 8 + 8
	frameMargin = 4 << 10 // headers, and messages of failed parts
)

var errWire = errors.New("message is cut short")

// run is the question of one part.
type run struct {
	more   bool
	memory uint64
	output uint64
	env    []byte
	data   []byte
}

// header returns what goes before the environment and the input.
func (r run) header() []byte {
	b := make([]byte, 0, runHeader)
	var more byte
	if r.more {
		more = 1
	}
	b = append(b, more)
	b = binary.LittleEndian.AppendUint64(b, r.memory)
	b = binary.LittleEndian.AppendUint64(b, r.output)
	return binary.LittleEndian.AppendUint32(b, uint32(len(r.env)))
}

func parseRun(b []byte) (run, error) {
	if len(b) < runHeader {
		return run{}, errWire
	}
	r := run{
		more:   b[0] != 0,
		memory: binary.LittleEndian.Uint64(b[1:]),
		output: binary.LittleEndian.Uint64(b[9:]),
	}
	n := binary.LittleEndian.Uint32(b[17:])
	b = b[runHeader:]
	if uint64(n) > uint64(len(b)) {
		return run{}, errWire
	}
	r.env, r.data = b[:n], b[n:]
	return r, nil
}

// ran is the answer to one part.
type ran struct {
	status byte
	cpu    time.Duration
	memory int64
	body   []byte // the result, or a message
}

func (r ran) header() []byte {
	b := append(make([]byte, 0, ranHeader), r.status)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.cpu))
	return binary.LittleEndian.AppendUint64(b, uint64(r.memory))
}

func parseRan(b []byte) (ran, error) {
	if len(b) < ranHeader {
		return ran{}, errWire
	}
	r := ran{
		status: b[0],
		cpu:    time.Duration(binary.LittleEndian.Uint64(b[1:])),
		memory: int64(binary.LittleEndian.Uint64(b[9:])),
		body:   b[ranHeader:],
	}
	switch {
	case r.status > statusLimit:
		return ran{}, fmt.Errorf("status %d where a part was run", r.status)
	case r.cpu < 0 || r.memory < 0:
		return ran{}, errors.New("negative usage")
	}
	return r, nil
}

// statusError returns the error of an answer that is not done.
func statusError(status byte, message []byte) error {
	switch status {
	case statusLimit:
		return fmt.Errorf("%w: %s", engine.ErrTooLarge, message)
	case statusRefused:
		return fmt.Errorf("%w: %s", engine.ErrModel, message)
	}
	return fmt.Errorf("%w: %s", engine.ErrCrashed, message)
}

const (
	maxParams = 256
	maxEnv    = 128 << 10
)

// environment encodes params for a run, or says what is wrong with them.
func environment(params map[string]string) ([]byte, error) {
	if len(params) > maxParams {
		return nil, fmt.Errorf("%d parameters, at most %d are allowed", len(params), maxParams)
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("parameter %.64q cannot be an environment variable: empty name, '=' in the name, or a zero byte", name)
		}
		b = append(append(append(append(b, name...), '='), value...), 0)
	}
	if len(b) > maxEnv {
		return nil, fmt.Errorf("parameters of %d bytes, at most %d are allowed", len(b), maxEnv)
	}
	return b, nil
}
