package identity

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

const sealType = "application/vnd.atoll.test+json"

func TestSeal(t *testing.T) {
	t.Parallel()
	k, other := newKey(t), newKey(t)
	sealed, err := Seal(sealType, []byte(`{"a":1}`), k)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int) Sealed {
		s := bytes.Clone(sealed)
		s[at] ^= 1
		return s
	}
	tests := map[string]struct {
		sealed Sealed
		kind   string
		key    *Key
		want   error
	}{
		"as it was":           {sealed, sealType, k, nil},
		"other key":           {sealed, sealType, other, ErrOtherSeal},
		"other purpose":       {sealed, "application/other", k, ErrSignature},
		"changed payload":     {change(len(sealed) - 1), sealType, k, ErrSignature},
		"longer payload":      {append(bytes.Clone(sealed), ' '), sealType, k, ErrSignature},
		"shorter payload":     {sealed[:len(sealed)-1], sealType, k, ErrSignature},
		"changed signature":   {change(sealHeader + 8), sealType, k, ErrSignature},
		"changed key digest":  {change(5), sealType, k, ErrOtherSeal},
		"other magic":         {change(0), sealType, k, ErrSealForm},
		"empty":               {nil, sealType, k, ErrSealForm},
		"header alone":        {sealed[:sealHeader], sealType, k, ErrSealForm},
		"header cut":          {sealed[:sealHeader-1], sealType, k, ErrSealForm},
		"magic alone":         {sealed[:4], sealType, k, ErrSealForm},
		"larger than allowed": {make(Sealed, MaxSealed+1), sealType, k, ErrSealForm},
	}
	for name, tt := range tests {
		payload, err := Open(tt.sealed, tt.kind, tt.key.Public())
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if (err == nil) != (string(payload) == `{"a":1}`) {
			t.Errorf("%s: payload %q with error %v", name, payload, err)
		}
	}
	if _, err := Seal(sealType, make([]byte, MaxSealed), k); !errors.Is(err, ErrSealForm) {
		t.Errorf("too large to seal: %v", err)
	}
}

// Sealed for one purpose, a payload never opens for another, however the
// boundary between the two is shifted.
func TestSealPurposes(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.StringN(0, 20, 40).Draw(t, "kind")
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		sealed, err := Seal(kind, payload, k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Open(sealed, kind, k.Public())
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%q, %v", got, err)
		}
		if other := rapid.String().Draw(t, "other"); other != kind {
			if _, err := Open(sealed, other, k.Public()); !errors.Is(err, ErrSignature) {
				t.Fatalf("opened as %q: %v", other, err)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := newKey(f)
	sealed, err := Seal(sealType, []byte("payload"), k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(sealed))
	f.Add([]byte("ATS1"))
	f.Add(append(bytes.Clone(sealed[:sealHeader-1]), 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		if payload, err := Open(b, sealType, k.Public()); err == nil && string(payload) != "payload" {
			t.Errorf("opened %q, which was never sealed", payload)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, payload := newKey(b), make([]byte, 4<<10)
	for b.Loop() {
		if _, err := Seal(sealType, payload, k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := newKey(b)
	sealed, err := Seal(sealType, make([]byte, 4<<10), k)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Open(sealed, sealType, k.Public()); err != nil {
			b.Fatal(err)
		}
	}
}
