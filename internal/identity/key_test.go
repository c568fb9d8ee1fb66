package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nkeys"

	"atoll/internal/core"
)

func newKey(t testing.TB) *Key {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "keys")
	first, err := LoadOrCreate(dir, "node")
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreate(dir, "node")
	if err != nil {
		t.Fatal(err)
	}
	if first.Public().Digest() != second.Public().Digest() {
		t.Error("another key the second time")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files left, want the key alone (%v)", len(entries), err)
	}
	info, err := os.Stat(filepath.Join(dir, "node.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := LoadOrCreateEd25519(dir, "node"); !errors.Is(err, ErrKeyFile) {
		t.Errorf("P-256 key read as Ed25519: %v", err)
	}
	if _, err := LoadOrCreate(dir, "../node"); err == nil {
		t.Error("name with a path accepted")
	}
}

// Whoever starts at the same time ends up with the same key.
func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := make([]core.Digest, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			k, err := LoadOrCreate(dir, "node")
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = k.Public().Digest()
		})
	}
	wg.Wait()
	for _, d := range got {
		if d != got[0] {
			t.Fatal("two keys under one name")
		}
	}
}

func TestKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	der256, err := x509.MarshalPKCS8PrivateKey(newKey(t).private)
	if err != nil {
		t.Fatal(err)
	}
	good := pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der256})
	tests := map[string]struct {
		text []byte
		mode os.FileMode
		want error
	}{
		"empty":           {nil, 0o600, ErrKeyFile},
		"garbage":         {[]byte("hello"), 0o600, ErrKeyFile},
		"other curve":     {pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), 0o600, ErrPublicKey},
		"other block":     {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600, ErrKeyFile},
		"trailing bytes":  {append(append([]byte(nil), good...), "x"...), 0o600, ErrKeyFile},
		"huge":            {make([]byte, maxKeyFile+1), 0o600, ErrKeyFile},
		"readable by all": {good, 0o644, ErrPermissions},
		"readable by us":  {good, 0o640, ErrPermissions},
	}
	for name, tt := range tests {
		if errors.Is(tt.want, ErrPermissions) && runtime.GOOS == "windows" {
			continue
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "node.pem")
		if err := os.WriteFile(path, tt.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(dir, "node"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(tt.text) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestOtherKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log1, err := LoadOrCreateEd25519(dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	log2, err := LoadOrCreateEd25519(dir, "log")
	if err != nil || !log1.Equal(log2) {
		t.Errorf("Ed25519 key changed (%v)", err)
	}
	pair, err := LoadOrCreateNkey(dir, "bus", nkeys.PrefixByteUser)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		t.Errorf("%s is no user key (%v)", public, err)
	}
	again, err := LoadOrCreateNkey(dir, "bus", nkeys.PrefixByteUser)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := again.PublicKey(); p != public {
		t.Error("nkey changed")
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	k, other := newKey(t), newKey(t)
	sig, err := k.Sign([]byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.Sign([]byte("data"))
	if err != nil || string(again) != string(sig) {
		t.Errorf("signing twice gives two signatures (%v)", err)
	}
	if err := k.Public().Verify([]byte("data"), sig); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"other data": k.Public().Verify([]byte("date"), sig),
		"other key":  other.Public().Verify([]byte("data"), sig),
		"no key":     PublicKey{}.Verify([]byte("data"), sig),
		"empty":      k.Public().Verify([]byte("data"), nil),
	} {
		if !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	raw, err := k.private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := fmt.Sprintf("%d", raw[:4])
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, k); strings.Contains(s, strings.Trim(d, "[]")) || !strings.Contains(s, "sha256:") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func TestPublicKeyHasOneSpelling(t *testing.T) {
	t.Parallel()
	text := newKey(t).Public().PEM()
	p, err := ParsePublicKey(text)
	if err != nil || p.PEM() != text {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty":       "",
		"no newline":  strings.TrimSuffix(text, "\n"),
		"preamble":    "hello\n" + text,
		"two":         text + text,
		"carriage":    strings.ReplaceAll(text, "\n", "\r\n"),
		"with header": strings.Replace(text, "KEY-----\n", "KEY-----\na: b\n\n", 1),
		"huge":        strings.Repeat(text, 20),
	} {
		if _, err := ParsePublicKey(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(newKey(f).Public().PEM())
	f.Add("-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePublicKey(text); err == nil && p.PEM() != text {
			t.Errorf("%q became %q", text, p.PEM())
		}
	})
}

func FuzzPrivateKeyFile(f *testing.F) {
	der, err := x509.MarshalPKCS8PrivateKey(newKey(f).private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parsePrivatePEM(text)
		if (err == nil) == (k == nil) {
			t.Errorf("key %T with error %v", k, err)
		}
		if err != nil && !errors.Is(err, ErrKeyFile) {
			t.Errorf("unclassed error %v", err)
		}
	})
}
