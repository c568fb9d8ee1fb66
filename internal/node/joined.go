package node

import (
	"context"
	"errors"
	"path/filepath"

	"atoll/internal/identity"
)

// Joined returns the grant by which the node of a directory was let in before,
// and the address of its hub. fs.ErrNotExist if it has not joined yet.
func Joined(dir string) (hubURL string, grant identity.JoinGrant, err error) {
	s, err := readGrant(filepath.Join(dir, "grant.json"))
	if err != nil {
		return "", identity.JoinGrant{}, err
	}
	return s.HubURL, s.Grant, nil
}

// Grant waits until Run has joined the hub and returns what it was granted.
func (n *Node) Grant(ctx context.Context) (identity.JoinGrant, error) {
	select {
	case <-n.up:
		_, grant, err := Joined(n.cfg.Dir)
		return grant, err
	case <-n.ended:
		return identity.JoinGrant{}, errors.New("the node has ended")
	case <-ctx.Done():
		return identity.JoinGrant{}, ctx.Err()
	}
}
