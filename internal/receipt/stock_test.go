package receipt

import (
	"bytes"
	"errors"
	"testing"
	"time"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	rootpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"atoll/internal/tlog"
)

type tlogKey = tlog.Key

// Bundle and trusted root are what Sigstore's own message types read, strictly,
// and what these write back is the same to us.
func TestStockMessages(t *testing.T) {
	t.Parallel()
	var b bundlepb.Bundle
	if err := protojson.Unmarshal(readVector(t, "good.sigstore.json"), &b); err != nil {
		t.Fatal(err)
	}
	e := b.GetVerificationMaterial().GetTlogEntries()[0]
	switch {
	case e.GetLogIndex() != logBefore || e.GetInclusionProof().GetLogIndex() != logBefore || e.GetInclusionProof().GetTreeSize() != vectorSize:
		t.Errorf("entry: %+v", e)
	case b.GetDsseEnvelope().GetPayloadType() != payloadType || len(b.GetDsseEnvelope().GetSignatures()) != 1:
		t.Errorf("envelope: %+v", b.GetDsseEnvelope())
	}
	again := must[[]byte](t)(protojson.Marshal(&b))
	want := Want{Logs: must[[]tlog.Key](t)(ParseTrustedRoot(readVector(t, "trusted_root.json")))}
	if _, err := Check(again, want); err != nil {
		t.Errorf("written by protojson: %v", err)
	}
	var r rootpb.TrustedRoot
	if err := protojson.Unmarshal(readVector(t, "trusted_root.json"), &r); err != nil {
		t.Fatal(err)
	}
	if l := r.GetTlogs()[0]; l.GetBaseUrl() != "https://"+testOrigin || !bytes.Equal(l.GetLogId().GetKeyId(), e.GetLogId().GetKeyId()) {
		t.Errorf("trusted root: %+v", l)
	}
	if keys, err := ParseTrustedRoot(must[[]byte](t)(protojson.Marshal(&r))); err != nil || keys[0].VKey() != want.Logs[0].VKey() {
		t.Errorf("root written by protojson: %v", err)
	}
}

func TestTrustedRootRefused(t *testing.T) {
	t.Parallel()
	good := must[[]byte](t)(TrustedRoot(must[*tlog.Signer](t)(tlog.NewSigner(testOrigin, fixedEd25519(2))).Key(), time.Unix(0, 0)))
	for name, root := range map[string][]byte{
		"origin of another": bytes.Replace(good, []byte("https://hub-1"), []byte("https://hub-2"), 1),
		"not https":         bytes.Replace(good, []byte("https://"), []byte("http://"), 1),
		"with path":         bytes.Replace(good, []byte(testOrigin), []byte(testOrigin+"/log"), 1),
		"other hash":        bytes.Replace(good, []byte(rootHash), []byte("SHA2_512"), 1),
		"other media type":  bytes.Replace(good, []byte("version=0.1"), []byte("version=0.2"), 1),
		"unknown member":    bytes.Replace(good, []byte("{"), []byte(`{"x":1,`), 1),
		"no logs":           []byte(`{"mediaType":"` + rootMedia + `","tlogs":[]}`),
		"empty":             nil,
		"large":             append(bytes.Clone(good), bytes.Repeat([]byte(" "), maxRoot)...),
	} {
		if _, err := ParseTrustedRoot(root); !errors.Is(err, ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyLeafOfALog(t *testing.T) {
	t.Parallel()
	s := fixedSigner(t, 1)
	signed := must[Signed](t)(s.Execution(exampleExecution(1)))
	log := must[*tlog.Signer](t)(tlog.NewSigner(testOrigin, fixedEd25519(2)))
	tree := tlog.Checkpoint{Size: 1, Root: tlog.LeafHash(signed.Leaf)}
	b := must[[]byte](t)(Bundle(Logged{Envelope: signed.Envelope, Leaf: signed.Leaf, Tree: tree, Checkpoint: must[[]byte](t)(log.Sign(tree)), Log: log.Key()}))
	if _, err := Check(b, Want{Logs: []tlog.Key{log.Key()}, Key: s.Key()}); err != nil {
		t.Error(err)
	}
	if _, err := Check(b, Want{Key: s.Key()}); !errors.Is(err, ErrLog) {
		t.Errorf("no trusted log: %v", err)
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	if _, err := NewSigner(fixedEd25519(1)); !errors.Is(err, ErrKey) {
		t.Errorf("Ed25519: %v", err)
	}
	for name, b := range map[string][]byte{"empty": nil, "text": []byte("x"), "large": make([]byte, maxPEM+1)} {
		if _, err := ParseKey(b); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
