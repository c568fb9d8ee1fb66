package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"atoll/internal/core"
)

func TestToken(t *testing.T) {
	t.Parallel()
	pin := core.DigestOf([]byte("ca"))
	for _, tt := range []struct {
		token Token
		kind  TokenKind
		pin   core.Digest
	}{
		{NewJoinToken(core.Digest{}), JoinToken, core.Digest{}},
		{NewJoinToken(pin), JoinToken, pin},
		{NewAPIKey(), APIKey, core.Digest{}},
	} {
		got, err := ParseToken(tt.kind, string(tt.token))
		if err != nil || got != tt.token || got.Kind() != tt.kind || got.Pin() != tt.pin {
			t.Errorf("%s: kind %s, pin %s, %v", tt.kind, got.Kind(), got.Pin(), err)
		}
		if !got.Matches(tt.token.Hash()) || got.Matches(NewAPIKey().Hash()) || got.Matches(core.Digest{}) {
			t.Error("hash does not tell tokens apart")
		}
	}
	if a, b := NewAPIKey(), NewAPIKey(); a == b {
		t.Error("same key twice")
	}
}

func TestTokenIsRefused(t *testing.T) {
	t.Parallel()
	key, join := string(NewAPIKey()), string(NewJoinToken(core.Digest{}))
	i := len(key) - 20
	swapped := key[:i] + string(key[i]^1) + key[i+1:]
	for name, tt := range map[string]struct {
		kind TokenKind
		text string
	}{
		"empty":         {APIKey, ""},
		"prefix alone":  {APIKey, string(APIKey)},
		"other kind":    {APIKey, join},
		"mistyped":      {APIKey, swapped},
		"cut":           {APIKey, key[:len(key)-1]},
		"longer":        {APIKey, key + "0"},
		"upper case":    {APIKey, string(APIKey) + strings.ToUpper(key[len(APIKey):])},
		"space":         {APIKey, key + " "},
		"huge":          {APIKey, key + strings.Repeat("0", 1<<20)},
		"pinned key":    {APIKey, string(formatToken(APIKey, make([]byte, 64)))},
		"short secret":  {APIKey, string(formatToken(APIKey, make([]byte, 16)))},
		"new line":      {APIKey, key[:30] + "\n" + key[30:]},
		"other spaces":  {JoinToken, join[:30] + "\r\n" + join[30:]},
		"kind exchange": {JoinToken, string(JoinToken) + key[len(APIKey):]},
	} {
		_, err := ParseToken(tt.kind, tt.text)
		if !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if secret := key[len(APIKey) : len(APIKey)+12]; strings.Contains(strings.ToLower(err.Error()), secret) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

func TestTokenDoesNotPrint(t *testing.T) {
	t.Parallel()
	token := NewJoinToken(core.Digest{})
	secret := string(token)[len(JoinToken):]
	request := JoinRequest{Token: token, Node: "paris-1"}
	grant := JoinGrant{APIKey: token, UserJWT: secret}
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "token", token, "request", request, "grant", grant)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb, token)
		fmt.Fprintf(&out, verb, request)
	}
	if strings.Contains(out.String(), secret) {
		t.Errorf("the secret shows: %s", out.String())
	}
	if b, err := json.Marshal(request); err != nil || !strings.Contains(string(b), secret) {
		t.Errorf("the wire needs the secret: %s %v", b, err)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(string(NewAPIKey()))
	f.Add(string(NewJoinToken(core.DigestOf(nil))))
	f.Add("atl_join_")
	f.Add("atl_key_0000000000000000000000000000000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []TokenKind{JoinToken, APIKey} {
			token, err := ParseToken(kind, text)
			if err == nil && (string(token) != text || token.Kind() != kind) {
				t.Errorf("%q became another token", text)
			}
		}
	})
}
