package secagg

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"atoll/internal/core"
)

var update = flag.Bool("update", false, "write testdata anew")

// vectors are the values of docs/secagg.md for two members of one round.
type vectors struct {
	Context  string    `json:"context"`
	Set      []int     `json:"set"`
	SetOf    string    `json:"set_digest"`
	Words    []uint32  `json:"words"`
	Bits     int       `json:"bits"`
	Packed   string    `json:"packed"`
	Seed     string    `json:"ring_seed"`
	Order    []int     `json:"ring_order"` // of 12 places
	Shares   int       `json:"shares"`     // that give a secret back
	Members  [2]member `json:"members"`    // numbers 0 and 1
	PairKey  string    `json:"pair_key"`
	PairMask []uint32  `json:"pair_mask"` // its first words
	Sealed   string    `json:"sealed"`    // by member 0 for member 1
}

type member struct {
	Root      string   `json:"root"`
	BoxKey    string   `json:"box_public_key"`
	MaskKey   string   `json:"mask_public_key"`
	OwnSecret string   `json:"own_secret"`
	MaskSec   string   `json:"mask_secret"`
	OwnDigest string   `json:"own_digest"`
	OwnKey    string   `json:"own_key"`
	Part      string   `json:"part"`
	Commit    string   `json:"commit"`
	Own       []string `json:"own_shares"` // of members 0 to 3
}

func makeVectors(t *testing.T) *vectors {
	context := core.DigestOf([]byte("a context"))
	v := &vectors{Context: hex.EncodeToString(context[:]), Set: []int{0, 1, 4}, Words: []uint32{1, 2047, 0, 1024, 77}, Bits: 11, Shares: 3}
	set, seed := digestSet(v.Set), core.DigestOf([]byte("a seed"))
	v.SetOf, v.Seed = hex.EncodeToString(set[:]), hex.EncodeToString(seed[:])
	v.Packed, v.Order = hex.EncodeToString(pack(v.Words, v.Bits)), newGraph(12, 4, seed).order
	var clients [2]*Client
	for i := range clients {
		root := bytes.Repeat([]byte{byte(i + 1)}, 32)
		c := &Client{context: context, root: root, ownMask: element(root, context, "own mask"), maskKey: element(root, context, "mask secret")}
		c.box, c.mask = privateKey(derive(root, context, "box key")), maskKey(c.maskKey, context)
		own, part := ownKey(c.ownMask, context), c.part()
		digest, commit := digestOwn(c.ownMask), commitment(part)
		v.Members[i] = member{
			Root: hex.EncodeToString(root), BoxKey: hex.EncodeToString(c.box.PublicKey().Bytes()), MaskKey: hex.EncodeToString(c.mask.PublicKey().Bytes()),
			OwnSecret: hex.EncodeToString(c.ownMask[:]), MaskSec: hex.EncodeToString(c.maskKey[:]), OwnDigest: hex.EncodeToString(digest[:]),
			OwnKey: hex.EncodeToString(own[:]), Part: hex.EncodeToString(part[:]), Commit: hex.EncodeToString(commit[:]),
		}
		p, err := newSplit(c.ownMask, v.Shares, root, context, "own")
		if err != nil {
			t.Fatal(err)
		}
		for j := range 4 {
			s := p.at(j)
			v.Members[i].Own = append(v.Members[i].Own, hex.EncodeToString(s[:]))
		}
		clients[i] = c
	}
	key, err := pairKey(clients[0].mask, clients[1].mask.PublicKey().Bytes(), context)
	if err != nil {
		t.Fatal(err)
	}
	v.PairKey, v.PairMask = hex.EncodeToString(key[:]), make([]uint32, 4)
	applyAt(v.PairMask, []term{{key: key}}, 0)
	common, err := agreed(clients[0].box, clients[1].box.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	v.Sealed = hex.EncodeToString((*boxKey)(&common).seal(context, 0, 1, bytes.Repeat([]byte{9}, 2*secretSize)))
	return v
}

// The bytes of the protocol stay what they are.
func TestVectors(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "vectors.json")
	got, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// FuzzVector reads vectors that come from outside.
func FuzzVector(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7}, 5, 11)
	f.Fuzz(func(t *testing.T, packed []byte, dim, bits int) {
		if dim < 1 || dim > 1000 || bits < 1 || bits > MaxBits {
			t.Skip()
		}
		p := &Params{Dim: dim, Bits: bits}
		if checkPacked(p, packed) != nil {
			return
		}
		sum := make([]uint32, dim)
		addPacked(sum, packed, bits)
		if again := pack(sum, bits); !bytes.Equal(again, packed) {
			t.Errorf("%x is read as %v, which is %x", packed, sum, again)
		}
	})
}

// FuzzOpening reads openings as they travel.
func FuzzOpening(f *testing.F) {
	f.Add([]byte(`{"from":1,"own":{"0":"sha256:00"},"masks":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var o Opening
		if json.Unmarshal(b, &o) != nil {
			return
		}
		if _, err := json.Marshal(&o); err != nil {
			t.Errorf("an opening was read that cannot be written: %v", err)
		}
	})
}
