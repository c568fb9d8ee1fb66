package relay

import (
	"errors"
	"fmt"
	"io"

	"atoll/internal/core"
)

// maxName bounds a node's name, in bytes.
const maxName = 63

var errFormat = errors.New("the hub does not keep to the relay's format")

// writeName begins a stream with the name of the node that has asked for it.
func writeName(w io.Writer, name core.NodeID) error {
	_, err := w.Write(append([]byte{byte(len(name))}, name...))
	return err
}

// readName reads it.
func readName(r io.Reader) (core.NodeID, error) {
	var b [1 + maxName]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	if b[0] == 0 || b[0] > maxName {
		return "", fmt.Errorf("%w: a name of %d bytes", errFormat, b[0])
	}
	name := b[1 : 1+b[0]]
	if _, err := io.ReadFull(r, name); err != nil {
		return "", err
	}
	if err := core.CheckName("node", string(name)); err != nil {
		return "", fmt.Errorf("%w: %w", errFormat, err)
	}
	return core.NodeID(name), nil
}
