package receipt

import (
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/tlog"
)

// The JSON of Sigstore's messages is written from small structs of our own: the
// bytes are then stable (protojson's are not, on purpose), and reading is as
// strict as for statements. That stock implementations agree is tested.
const (
	bundleMedia = "application/vnd.dev.sigstore.bundle.v0.3+json"
	rootMedia   = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
	rootHash    = "SHA2_256"
	rootDetails = "PKIX_ED25519"
)

type bundleJSON struct {
	MediaType string `json:"mediaType"`
	Material  struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
		Entries []entryJSON `json:"tlogEntries"`
	} `json:"verificationMaterial"`
	Envelope jsontext.Value `json:"dsseEnvelope"`
}

type entryJSON struct {
	LogIndex int64 `json:"logIndex,string"`
	LogID    struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
	KindVersion struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	Proof proofJSON `json:"inclusionProof"`
	Body  []byte    `json:"canonicalizedBody"`
}

type proofJSON struct {
	LogIndex   int64    `json:"logIndex,string"`
	RootHash   []byte   `json:"rootHash"`
	TreeSize   int64    `json:"treeSize,string"`
	Hashes     [][]byte `json:"hashes"`
	Checkpoint struct {
		Envelope string `json:"envelope"`
	} `json:"checkpoint"`
}

// Logged is a signed statement and where it is in the log.
type Logged struct {
	Envelope   []byte
	Leaf       []byte
	Index      int64
	Proof      []tlog.Hash     // of Index in the tree of Tree.Size leaves
	Tree       tlog.Checkpoint // what Checkpoint says
	Checkpoint []byte          // signed note
	Log        tlog.Key
}

// Bundle returns the file that a stranger checks. Equal values give equal bytes.
func Bundle(l Logged) ([]byte, error) {
	entry, err := parseLeaf(l.Leaf)
	if err != nil {
		return nil, err
	}
	b := bundleJSON{MediaType: bundleMedia, Envelope: l.Envelope}
	b.Material.PublicKey.Hint = entry.key.hint()
	id := l.Log.ID()
	e := entryJSON{LogIndex: l.Index, Body: l.Leaf, Proof: proofJSON{
		LogIndex: l.Index, RootHash: l.Tree.Root[:], TreeSize: l.Tree.Size, Hashes: make([][]byte, len(l.Proof)),
	}}
	e.LogID.KeyID = id[:]
	e.KindVersion.Kind, e.KindVersion.Version = leafKind, leafVersion
	for i := range l.Proof {
		e.Proof.Hashes[i] = l.Proof[i][:]
	}
	e.Proof.Checkpoint.Envelope = string(l.Checkpoint)
	b.Material.Entries = []entryJSON{e}
	out, err := json.Marshal(&b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	return out, nil
}

// parsedBundle is a bundle in parts, none of them verified.
type parsedBundle struct {
	hint     string
	envelope envelope
	entry    entryJSON
	proof    []tlog.Hash
	root     tlog.Hash
}

func parseBundle(b []byte) (*parsedBundle, error) {
	var j bundleJSON
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrBundle, MaxBundle)
	}
	if err := strict(b, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if j.MediaType != bundleMedia {
		return nil, fmt.Errorf("%w: media type %.80q, want %s", ErrBundle, j.MediaType, bundleMedia)
	}
	if len(j.Material.Entries) != 1 {
		return nil, fmt.Errorf("%w: %d log entries, want one", ErrBundle, len(j.Material.Entries))
	}
	p := &parsedBundle{hint: j.Material.PublicKey.Hint, entry: j.Material.Entries[0]}
	var err error
	if p.envelope, err = parseEnvelope(j.Envelope); err != nil {
		return nil, err
	}
	proof := &p.entry.Proof
	if len(proof.RootHash) != tlog.HashSize || len(proof.Hashes) > maxProof {
		return nil, fmt.Errorf("%w: root or proof of a wrong size", ErrBundle)
	}
	p.root = tlog.Hash(proof.RootHash)
	for _, h := range proof.Hashes {
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("%w: a hash of %d bytes in the proof", ErrBundle, len(h))
		}
		p.proof = append(p.proof, tlog.Hash(h))
	}
	return p, nil
}

type rootJSON struct {
	MediaType string        `json:"mediaType"`
	Logs      []rootLogJSON `json:"tlogs"`
}

type rootLogJSON struct {
	BaseURL   string `json:"baseUrl"`
	Hash      string `json:"hashAlgorithm"`
	PublicKey struct {
		RawBytes   []byte `json:"rawBytes"`
		KeyDetails string `json:"keyDetails"`
		ValidFor   struct {
			Start string `json:"start"`
			End   string `json:"end,omitempty"`
		} `json:"validFor"`
	} `json:"publicKey"`
	LogID struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
}

// TrustedRoot returns the file by which a log makes its key known, in the form
// that Sigstore's tools take. since is when the key came into use.
func TrustedRoot(log tlog.Key, since time.Time) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(log.Public())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	id := log.ID()
	l := rootLogJSON{BaseURL: "https://" + log.Origin(), Hash: rootHash}
	l.PublicKey.RawBytes, l.PublicKey.KeyDetails = der, rootDetails
	l.PublicKey.ValidFor.Start = since.UTC().Format(time.RFC3339)
	l.LogID.KeyID = id[:]
	return json.Marshal(&rootJSON{rootMedia, []rootLogJSON{l}}, jsontext.WithIndent("  "))
}

// ParseTrustedRoot reads the logs of a trusted root. A root that also speaks of
// other services, or of logs with other kinds of keys, belongs to somebody else
// and is refused.
func ParseTrustedRoot(b []byte) ([]tlog.Key, error) {
	var j rootJSON
	if len(b) > maxRoot {
		return nil, fmt.Errorf("%w: trusted root is larger than %d bytes", ErrLog, maxRoot)
	}
	if err := strict(b, &j); err != nil {
		return nil, fmt.Errorf("%w: trusted root: %w", ErrLog, err)
	}
	if j.MediaType != rootMedia || len(j.Logs) == 0 {
		return nil, fmt.Errorf("%w: trusted root is not of type %s, or names no log", ErrLog, rootMedia)
	}
	keys := make([]tlog.Key, 0, len(j.Logs))
	for i := range j.Logs {
		k, err := j.Logs[i].key()
		if err != nil {
			return nil, fmt.Errorf("%w: trusted root, tlogs[%d]: %w", ErrLog, i, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (l *rootLogJSON) key() (tlog.Key, error) {
	parsed, err := x509.ParsePKIXPublicKey(l.PublicKey.RawBytes)
	if err != nil {
		return tlog.Key{}, err
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok || l.PublicKey.KeyDetails != rootDetails || l.Hash != rootHash {
		return tlog.Key{}, fmt.Errorf("want a key of %s and hashes of %s", rootDetails, rootHash)
	}
	origin, ok := strings.CutPrefix(l.BaseURL, "https://")
	if !ok {
		return tlog.Key{}, fmt.Errorf("baseUrl %.80q is not https://ORIGIN", l.BaseURL)
	}
	k, err := tlog.NewKey(origin, public)
	if err != nil {
		return tlog.Key{}, err
	}
	if id := k.ID(); string(id[:]) != string(l.LogID.KeyID) {
		return tlog.Key{}, fmt.Errorf("logId is not that of origin %s and its key", origin)
	}
	return k, nil
}
