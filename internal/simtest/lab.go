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
	"path/filepath"
	"sync/atomic"

	"github.com/nats-io/nkeys"

	"atoll/internal/blob"
	"atoll/internal/core"
	"atoll/internal/identity"
)

// Lab is what all runs share: keys, and the bytes of a model. No run changes it,
// so runs may go on beside each other.
type Lab struct {
	dir      string
	runs     atomic.Int64
	hubKey   *identity.Key
	logKey   ed25519.PrivateKey
	nodeKeys []*identity.Key
	nkeys    []string
	blobs    *blob.Store
	model    core.Digest
}

const maxNodes = 16

// NewLab prepares runs in an empty directory, best on a memory disk. Keys are
// made from fixed seeds: signatures are deterministic, so two runs of one seed
// sign the same bytes.
func NewLab(dir string) (*Lab, error) {
	l := &Lab{dir: dir, logKey: ed25519.NewKeyFromSeed(seedOf("log"))}
	var err error
	if l.hubKey, err = fixedKey("hub"); err != nil {
		return nil, err
	}
	for i := range maxNodes {
		k, err := fixedKey(fmt.Sprintf("node %d", i))
		if err != nil {
			return nil, err
		}
		l.nodeKeys = append(l.nodeKeys, k)
		pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seedOf(fmt.Sprintf("nkey %d", i)))
		if err != nil {
			return nil, err
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, err
		}
		l.nkeys = append(l.nkeys, public)
	}
	if l.blobs, err = blob.Open(filepath.Join(dir, "blobs"), blob.Options{}); err != nil {
		return nil, err
	}
	l.model, _, err = l.blobs.Put(context.Background(), bytes.NewReader([]byte("the model")), core.Digest{}, 1<<20)
	return l, err
}

// runDir makes a directory for one run's hub.
func (l *Lab) runDir() (string, error) {
	dir := filepath.Join(l.dir, fmt.Sprintf("run-%d", l.runs.Add(1)))
	return dir, os.Mkdir(dir, 0o700)
}

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
