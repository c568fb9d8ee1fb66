package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"atoll/internal/blob"
	"atoll/internal/blob/swarm"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/peer"
)

// WeightsMember is a process of the benchmark: the node of a folder, which talks to the
// one that has started it over in and out.
func WeightsMember(ctx context.Context, home string, in io.Reader, out io.Writer) (err error) {
	store, err := openWeights(home)
	if err != nil {
		return err
	}
	var end *peer.Endpoint
	var order weightsOrder
	key, err := identity.LoadOrCreate(home, memberKey)
	if err != nil {
		return err
	}
	s, err := swarm.New(swarm.Config{
		Store: store, Origin: onlyManifest(filepath.Join(filepath.Dir(home), weightsManifest)), Self: key.Public().Digest(),
		Open: func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
			return end.Open(ctx, to, protocol)
		},
		Sources: func(core.Digest) []peer.Address { return order.From },
		Allow:   func(context.Context, peer.Peer, core.Digest) error { return nil },
	})
	if err != nil {
		return err
	}
	end, address, err := openEndpoint(home, s.Handlers(), loopback)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end.Close()) }()
	defer s.Close()
	say, hear := json.NewEncoder(out), json.NewDecoder(in)
	if err := say.Encode(address); err != nil {
		return err
	}
	if err := hear.Decode(&order); err != nil {
		return err
	}
	_, release, err := s.Fetch(ctx, order.Digest, order.Size)
	if err != nil {
		return err
	}
	defer release()
	if err := say.Encode(struct{}{}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // until the others have it, too
		return err
	}
	return say.Encode(s.Moved())
}

// onlyManifest is an origin that has a manifest in a file, and no chunks.
type onlyManifest string

func (o onlyManifest) Manifest(context.Context, core.Digest) (*blob.Manifest, error) {
	b, err := os.ReadFile(string(o))
	if err != nil {
		return nil, err
	}
	return blob.ReadManifest(bytes.NewReader(b))
}

func (o onlyManifest) Read(context.Context, core.Digest, []byte, int64) error {
	return errors.New("the benchmark has no hub, and the nodes do not reach one another")
}
