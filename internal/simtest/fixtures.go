package simtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"

	"github.com/nats-io/nkeys"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/node/outbox"
)

// fixtures are what all runs may share, since no run changes it.
type fixtures struct {
	hubKey   *identity.Key
	logKey   ed25519.PrivateKey
	nodeKeys []*identity.Key
	nkeys    []string
	blobs    *blob.Store
	model    core.Digest
}

const maxNodes = 16

// sharedFixtures makes keys from fixed seeds: signatures are deterministic, so
// two runs of one seed sign the same bytes.
var sharedFixtures = sync.OnceValues(func() (*fixtures, error) {
	f := &fixtures{logKey: ed25519.NewKeyFromSeed(seedOf("log"))}
	var err error
	if f.hubKey, err = fixedKey("hub"); err != nil {
		return nil, err
	}
	for i := range maxNodes {
		k, err := fixedKey(fmt.Sprintf("node %d", i))
		if err != nil {
			return nil, err
		}
		f.nodeKeys = append(f.nodeKeys, k)
		pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seedOf(fmt.Sprintf("nkey %d", i)))
		if err != nil {
			return nil, err
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, err
		}
		f.nkeys = append(f.nkeys, public)
	}
	dir, err := os.MkdirTemp("", "atoll-simtest-blobs-")
	if err != nil {
		return nil, err
	}
	if f.blobs, err = blob.Open(dir, blob.Options{}); err != nil {
		return nil, err
	}
	f.model, _, err = f.blobs.Put(context.Background(), bytes.NewReader([]byte("the model")), core.Digest{}, 1<<20)
	return f, err
})

func seedOf(name string) []byte {
	h := sha256.Sum256([]byte("atoll simtest " + name))
	return h[:]
}

func fixedKey(name string) (*identity.Key, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seedOf(name))
	if err != nil {
		return nil, err
	}
	return identity.NewKey(private)
}

func newDisk() *outbox.Memory { return new(outbox.Memory) }
