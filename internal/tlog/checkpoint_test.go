package tlog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func testSigner(t testing.TB, origin string, seed byte) *Signer {
	t.Helper()
	s, err := NewSigner(origin, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	must(t, err)
	return s
}

const testOrigin = "hub-1.atoll.internal"

func TestCheckpointRoundTrip(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testOrigin, 1)
	want := Checkpoint{Size: 42, Root: LeafHash([]byte("root"))}
	msg, err := s.Sign(want)
	must(t, err)
	if got, err := s.Key().Open(msg); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	// The stock implementation of notes takes it, with the published key.
	v, err := note.NewVerifier(s.Key().VKey())
	must(t, err)
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil || n.Text != FormatCheckpoint(testOrigin, want) {
		t.Fatalf("note.Open: %+v, %v", n, err)
	}
	k, err := ParseVKey(s.Key().VKey())
	if err != nil || k.ID() != s.Key().ID() || k.Origin() != testOrigin {
		t.Fatalf("%+v, %v", k, err)
	}
	id := k.ID()
	if v.KeyHash() != keyHash(id) {
		t.Fatal("the log ID does not begin with the note's key ID")
	}
	again, err := s.Sign(want)
	if err != nil || !bytes.Equal(again, msg) {
		t.Fatal("signing twice gives other bytes")
	}
}

func TestCheckpointRefused(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testOrigin, 1)
	cp := Checkpoint{Size: 42, Root: LeafHash(nil)}
	good, err := s.Sign(cp)
	must(t, err)
	wrongKey, err := testSigner(t, testOrigin, 2).Sign(cp)
	must(t, err)
	otherLog, err := testSigner(t, "other.example", 1).Sign(cp)
	must(t, err)
	signAs := func(text string) []byte {
		msg, err := note.Sign(&note.Note{Text: text}, signer{testOrigin, keyHash(s.key.ID()), func(m []byte) ([]byte, error) { return ed25519.Sign(s.private, m), nil }})
		must(t, err)
		return msg
	}
	for name, c := range map[string]struct {
		msg  []byte
		want error
	}{
		"wrong key":      {wrongKey, ErrSignature},
		"other log":      {otherLog, ErrSignature},
		"other origin":   {signAs(FormatCheckpoint("other.example", cp)), ErrOrigin},
		"changed size":   {bytes.Replace(good, []byte("\n42\n"), []byte("\n43\n"), 1), ErrSignature},
		"leading zero":   {signAs(strings.Replace(FormatCheckpoint(testOrigin, cp), "\n42\n", "\n042\n", 1)), ErrCheckpoint},
		"negative":       {signAs(strings.Replace(FormatCheckpoint(testOrigin, cp), "\n42\n", "\n-42\n", 1)), ErrCheckpoint},
		"huge":           {signAs(strings.Replace(FormatCheckpoint(testOrigin, cp), "\n42\n", "\n9223372036854775807\n", 1)), ErrCheckpoint},
		"short root":     {signAs(testOrigin + "\n42\nAAAA\n"), ErrCheckpoint},
		"two lines":      {signAs(testOrigin + "\n42\n"), ErrCheckpoint},
		"blank line":     {signAs(FormatCheckpoint(testOrigin, cp) + "\next\n"), ErrCheckpoint},
		"trailing bytes": {append(bytes.Clone(good), 'x'), ErrSignature},
		"too large":      {bytes.Repeat([]byte("x"), MaxCheckpoint+1), ErrCheckpoint},
		"empty":          {nil, ErrSignature},
	} {
		if _, err := s.Key().Open(c.msg); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if got, err := s.Key().Open(signAs(FormatCheckpoint(testOrigin, cp) + "an extension\n")); err != nil || got != cp {
		t.Errorf("extension line: %v", err)
	}
	if _, err := (Key{}).Open(good); !errors.Is(err, ErrSignature) {
		t.Errorf("no key: %v", err)
	}
}

func TestNextRefusesShrinkAndFork(t *testing.T) {
	t.Parallel()
	a, b := LeafHash([]byte("a")), LeafHash([]byte("b"))
	first, err := Next(Checkpoint{}, 0, Hash{})
	if err != nil || first != (Checkpoint{}) {
		t.Fatalf("empty log: %+v, %v", first, err)
	}
	one, err := Next(first, 5, a)
	if err != nil || one != (Checkpoint{5, a, 1}) {
		t.Fatalf("growth: %+v, %v", one, err)
	}
	if same, err := Next(one, 5, a); err != nil || same != one {
		t.Fatalf("standstill: %+v, %v", same, err)
	}
	if _, err := Next(one, 4, b); !errors.Is(err, ErrShrunk) {
		t.Errorf("shrink: %v", err)
	}
	if _, err := Next(one, 5, b); !errors.Is(err, ErrFork) {
		t.Errorf("fork: %v", err)
	}
	bodies := someBodies(300)
	tree := open(t, t.TempDir(), bodies, Checkpoint{})
	if c, err := tree.Next(checkpointOf(bodies, 200)); err != nil || c.Size != 300 || c.Root != naiveRoot(bodies) || c.Epoch != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := tree.Next(Checkpoint{Size: 200, Root: a}); !errors.Is(err, ErrFork) {
		t.Errorf("grown fork: %v", err)
	}
	if _, err := tree.Next(Checkpoint{Size: 301, Root: a}); !errors.Is(err, ErrShrunk) {
		t.Errorf("shrunk tree: %v", err)
	}
}

func TestWitness(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testOrigin, 1)
	msg, err := s.Sign(Checkpoint{Size: 7, Root: LeafHash(nil)})
	must(t, err)
	c, err := NewCosigner("witness.example/w1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)))
	must(t, err)
	w, err := ParseWitness(c.VKey())
	must(t, err)
	if _, err := w.Cosigned(msg); !errors.Is(err, ErrCosignature) {
		t.Errorf("not cosigned: %v", err)
	}
	both, err := c.Cosign(msg, s.Key(), 1_790_000_000)
	must(t, err)
	if at, err := w.Cosigned(both); err != nil || at != 1_790_000_000 {
		t.Errorf("%d, %v", at, err)
	}
	if _, err := s.Key().Open(both); err != nil {
		t.Errorf("the log's signature is gone: %v", err)
	}
	if _, err := c.Cosign(msg, testSigner(t, testOrigin, 3).Key(), 1); !errors.Is(err, ErrSignature) {
		t.Errorf("cosigned a checkpoint of nobody: %v", err)
	}
	other, err := NewCosigner("witness.example/w1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32)))
	must(t, err)
	ow, err := ParseWitness(other.VKey())
	must(t, err)
	if _, err := ow.Cosigned(both); !errors.Is(err, ErrCosignature) {
		t.Errorf("other witness of that name: %v", err)
	}
	if _, err := ParseWitness(s.Key().VKey()); !errors.Is(err, ErrKey) {
		t.Errorf("a log's key as witness: %v", err)
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	good := testSigner(t, testOrigin, 1).Key().VKey()
	for name, v := range map[string]string{
		"empty": "", "no parts": "x", "renamed": "a" + good, "truncated": good[:len(good)-1],
		"other hash": strings.Replace(good, "+", "+0", 1), "newline": good + "\n",
	} {
		if _, err := ParseVKey(v); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []string{"", "a b", "host:80", "host/path", "UPPER.example", "a+b", "ü.example", "-a", "a..b", strings.Repeat("a", 254)} {
		if err := CheckOrigin(o); !errors.Is(err, ErrOriginName) {
			t.Errorf("origin %q: %v", o, err)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	good := FormatCheckpoint(testOrigin, Checkpoint{Size: 42, Root: LeafHash(nil)})
	for _, s := range []string{good, good + "ext\n", "", "\n\n\n", "a\n0\n" + strings.Repeat("A", 43) + "=\n", "a\n00\nx\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		origin, c, err := ParseCheckpoint(text)
		if err != nil {
			return
		}
		if again := FormatCheckpoint(origin, c); !strings.HasPrefix(text, again) {
			t.Errorf("%q reads as %q", text, again)
		}
	})
}

func FuzzOpenNote(f *testing.F) {
	s := testSigner(f, testOrigin, 1)
	msg, err := s.Sign(Checkpoint{Size: 42, Root: LeafHash(nil)})
	must(f, err)
	c, err := NewCosigner("w", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32)))
	must(f, err)
	both, err := c.Cosign(msg, s.Key(), 5)
	must(f, err)
	w, err := ParseWitness(c.VKey())
	must(f, err)
	f.Add(msg)
	f.Add(both)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := s.Key().Open(b); err == nil && got.Size != 42 {
			t.Errorf("forged %+v", got)
		}
		if at, err := w.Cosigned(b); err == nil && at != 5 {
			t.Errorf("forged time %d", at)
		}
	})
}

func FuzzParseVKey(f *testing.F) {
	f.Add(testSigner(f, testOrigin, 1).Key().VKey())
	f.Add("a+00000000+AQ==")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseVKey(s); err == nil && k.VKey() != s {
			t.Errorf("%q reads as %q", s, k.VKey())
		}
		_, _ = ParseWitness(s)
	})
}
