package identity

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"atoll/internal/core"
)

func joinRequest(t testing.TB) (JoinRequest, *Key) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return JoinRequest{
		Token: NewJoinToken(core.Digest{}), Node: "paris-1", NkeyPublic: public, Version: "v0.1.0",
		Country: "FR", Labels: map[string]string{"tier": "gold", "rack": "7"},
	}, newKey(t)
}

func TestJoin(t *testing.T) {
	t.Parallel()
	unsigned, key := joinRequest(t)
	signed, err := SignJoin(unsigned, key)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := json.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	var got JoinRequest
	if err := json.Unmarshal(wire, &got); err != nil {
		t.Fatal(err)
	}
	public, err := VerifyJoin(got)
	if err != nil || public.Digest() != key.Public().Digest() {
		t.Fatalf("%v", err)
	}
}

// Every field is under the signature: whichever is changed to another valid
// value, the request fails.
func TestJoinSignatureCoversEveryField(t *testing.T) {
	t.Parallel()
	unsigned, key := joinRequest(t)
	signed, err := SignJoin(unsigned, key)
	if err != nil {
		t.Fatal(err)
	}
	other, otherKey := joinRequest(t)
	other, err = SignJoin(other, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	other.Node, other.Version, other.Country = "paris-2", "v0.1.1", "US"
	other.Labels = map[string]string{"tier": "gold", "rack": "8"}
	typ := reflect.TypeFor[JoinRequest]()
	for i := range typ.NumField() {
		mixed := signed
		reflect.ValueOf(&mixed).Elem().Field(i).Set(reflect.ValueOf(other).Field(i))
		if _, err := VerifyJoin(mixed); !errors.Is(err, ErrSignature) {
			t.Errorf("%s exchanged: %v", typ.Field(i).Name, err)
		}
	}
	// Moving bytes between neighbours changes what is signed, too.
	shifted := signed
	shifted.Labels = map[string]string{"tierg": "old", "rack": "7"}
	if _, err := VerifyJoin(shifted); !errors.Is(err, ErrSignature) {
		t.Errorf("shifted label: %v", err)
	}
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range maxLabels + 1 {
		many[strings.Repeat("x", i+1)] = ""
	}
	tests := map[string]struct {
		change func(*JoinRequest)
		says   string
	}{
		"API key as token": {func(r *JoinRequest) { r.Token = NewAPIKey() }, "atl_join_"},
		"no token":         {func(r *JoinRequest) { r.Token = "" }, "atl_join_"},
		"node with dot":    {func(r *JoinRequest) { r.Node = "a.b" }, "node"},
		"wildcard node":    {func(r *JoinRequest) { r.Node = "*" }, "node"},
		"account nkey":     {func(r *JoinRequest) { r.NkeyPublic = "A" + r.NkeyPublic[1:] }, "nkey"},
		"country name":     {func(r *JoinRequest) { r.Country = "France" }, "country"},
		"small country":    {func(r *JoinRequest) { r.Country = "fr" }, "country"},
		"no country":       {func(r *JoinRequest) { r.Country = "" }, "country"},
		"long version":     {func(r *JoinRequest) { r.Version = strings.Repeat("v", 1000) }, "version"},
		"too many labels":  {func(r *JoinRequest) { r.Labels = many }, "labels"},
		"long label":       {func(r *JoinRequest) { r.Labels = map[string]string{"a": strings.Repeat("b", 1000)} }, "label"},
		"not UTF-8":        {func(r *JoinRequest) { r.Labels = map[string]string{"a": "\xff"} }, "label"},
	}
	for name, tt := range tests {
		r, key := joinRequest(t)
		tt.change(&r)
		_, err := SignJoin(r, key)
		if !errors.Is(err, ErrJoin) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want mention of %s", name, err, tt.says)
		}
	}
	r, key := joinRequest(t)
	r, err := SignJoin(r, key)
	if err != nil {
		t.Fatal(err)
	}
	r.PublicKeyPEM = "x"
	if _, err := VerifyJoin(r); !errors.Is(err, ErrPublicKey) {
		t.Errorf("bad key: %v", err)
	}
}

func FuzzVerifyJoin(f *testing.F) {
	unsigned, key := joinRequest(f)
	signed, err := SignJoin(unsigned, key)
	if err != nil {
		f.Fatal(err)
	}
	wire, err := json.Marshal(signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Add([]byte(`{"node":"a","signature":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r JoinRequest
		if json.Unmarshal(b, &r) != nil {
			return
		}
		if _, err := VerifyJoin(r); err != nil && !errors.Is(err, ErrJoin) {
			t.Errorf("unclassed error %v", err)
		}
	})
}
