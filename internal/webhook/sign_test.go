package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	theirs "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func secret(t testing.TB, b byte) Secret {
	t.Helper()
	s, err := NewSecret(bytes.NewReader(bytes.Repeat([]byte{b}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

// TestVector is the example of the Standard Webhooks libraries.
func TestVector(t *testing.T) {
	t.Parallel()
	s, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	now := time.Unix(1614265330, 0)
	if err := (Keys{Secrets: []Secret{s}}).Sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, []byte(`{"test": 2432232314}`)); err != nil {
		t.Fatal(err)
	}
	if got := h.Get(HeaderSignature); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}

func TestOthersAcceptOurs(t *testing.T) {
	t.Parallel()
	s, err := NewSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"a":1}`)
	h := http.Header{}
	if err := (Keys{Secrets: []Secret{s}, Private: key(1)}).Sign(h, "xfer_1", time.Now(), body); err != nil {
		t.Fatal(err)
	}
	wh, err := theirs.NewWebhook(s.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(body, h); err != nil {
		t.Errorf("the reference library refuses ours: %v", err)
	}
	if err := wh.Verify([]byte(`{"a":2}`), h); err == nil {
		t.Error("the reference library accepts another body")
	}
	sig, err := wh.Sign("msg_2", time.Now(), body)
	if err != nil {
		t.Fatal(err)
	}
	h = http.Header{}
	h.Set(HeaderID, "msg_2")
	h.Set(HeaderTimestamp, strconv.FormatInt(time.Now().Unix(), 10))
	h.Set(HeaderSignature, sig)
	if err := (Keys{Secrets: []Secret{s}}).Verify(h, body, time.Now()); err != nil {
		t.Errorf("we refuse the reference library's: %v", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 999)
	body := []byte("body")
	both := Keys{Secrets: []Secret{secret(t, 1)}, Private: key(1)}
	hmacOnly := Keys{Secrets: []Secret{secret(t, 2), secret(t, 1)}}
	ed := Keys{Publics: []ed25519.PublicKey{key(2).Public().(ed25519.PublicKey), key(1).Public().(ed25519.PublicKey)}}
	for name, tc := range map[string]struct {
		change func(h http.Header)
		by     Keys
		body   string
		after  time.Duration
		want   error
	}{
		"hmac":              {nil, hmacOnly, "body", 0, nil},
		"ed25519":           {nil, ed, "body", 0, nil},
		"late":              {nil, ed, "body", Tolerance, nil},
		"too late":          {nil, ed, "body", Tolerance + time.Second, ErrTimestamp},
		"early":             {nil, ed, "body", -Tolerance, nil},
		"too early":         {nil, ed, "body", -Tolerance - time.Second, ErrTimestamp},
		"other body":        {nil, ed, "bodY", 0, ErrSignature},
		"other keys":        {nil, Keys{Secrets: []Secret{secret(t, 9), {}}, Publics: []ed25519.PublicKey{key(9).Public().(ed25519.PublicKey), nil}}, "body", 0, ErrSignature},
		"no keys":           {nil, Keys{}, "body", 0, ErrSignature},
		"other id":          {func(h http.Header) { h.Set(HeaderID, "b") }, both, "body", 0, ErrSignature},
		"other time":        {func(h http.Header) { h.Set(HeaderTimestamp, "1800000001") }, ed, "body", 0, ErrSignature},
		"spelled time":      {func(h http.Header) { h.Set(HeaderTimestamp, "+1800000000") }, ed, "body", 0, ErrHeaders},
		"padded time":       {func(h http.Header) { h.Set(HeaderTimestamp, "01800000000") }, ed, "body", 0, ErrHeaders},
		"overflowing time":  {func(h http.Header) { h.Set(HeaderTimestamp, "9223372036854775807") }, ed, "body", 0, ErrTimestamp},
		"no id":             {func(h http.Header) { h.Del(HeaderID) }, ed, "body", 0, ErrHeaders},
		"id with dot":       {func(h http.Header) { h.Set(HeaderID, "a.1800000000") }, ed, "body", 0, ErrHeaders},
		"no signature":      {func(h http.Header) { h.Del(HeaderSignature) }, ed, "body", 0, ErrHeaders},
		"endless signature": {func(h http.Header) { h.Set(HeaderSignature, strings.Repeat("v1,x ", 5000)) }, ed, "body", 0, ErrHeaders},
		"one of several":    {func(h http.Header) { h.Set(HeaderSignature, "v9,xx v1 v1,AAAA "+h.Get(HeaderSignature)) }, ed, "body", 0, nil},
		"one of too many": {func(h http.Header) {
			h.Set(HeaderSignature, strings.Repeat("v1,AA== ", maxSignatures)+h.Get(HeaderSignature))
		}, ed, "body", 0, ErrSignature},
		"versions swapped": {func(h http.Header) {
			h.Set(HeaderSignature, strings.NewReplacer("v1a,", "v1,", "v1,", "v1a,").Replace(h.Get(HeaderSignature)))
		}, ed, "body", 0, ErrSignature},
	} {
		h := http.Header{}
		if err := both.Sign(h, "a", now, body); err != nil {
			t.Fatal(err)
		}
		if tc.change != nil {
			tc.change(h)
		}
		if err := tc.by.Verify(h, []byte(tc.body), now.Add(tc.after)); !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	for _, id := range []string{"", "a.b", "a b", "ä", "a\n", strings.Repeat("x", 257)} {
		if err := both.Sign(http.Header{}, id, now, body); err == nil {
			t.Errorf("id %q was signed", id)
		}
	}
	if err := (Keys{Secrets: []Secret{{}}}).Sign(http.Header{}, "a", now, body); err == nil {
		t.Error("signed without a key")
	}
}

func FuzzVerify(f *testing.F) {
	s, pub := secret(f, 1), key(1).Public().(ed25519.PublicKey)
	now := time.Unix(1_800_000_000, 0)
	h := http.Header{}
	if err := (Keys{Secrets: []Secret{s}, Private: key(1)}).Sign(h, "a", now, []byte("x")); err != nil {
		f.Fatal(err)
	}
	f.Add("a", h.Get(HeaderTimestamp), h.Get(HeaderSignature), []byte("x"))
	f.Add("", "-1", "v1, v1a, ,", []byte(nil))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		g := http.Header{}
		g.Set(HeaderID, id)
		g.Set(HeaderTimestamp, timestamp)
		g.Set(HeaderSignature, signature)
		err := Keys{Secrets: []Secret{s}, Publics: []ed25519.PublicKey{pub}}.Verify(g, body, now)
		if err == nil && (id != "a" || timestamp != h.Get(HeaderTimestamp) || string(body) != "x") {
			t.Fatalf("accepted %q %q %q %q", id, timestamp, signature, body)
		}
	})
}

func TestKeysRoundTrip(t *testing.T) {
	t.Parallel()
	s := secret(t, 7)
	if again, err := ParseSecret(s.Reveal()); err != nil || again.Reveal() != s.Reveal() {
		t.Errorf("secret: %v", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	for _, text := range []string{"whsk_" + b64(key(3)), "whsk_" + b64(key(3).Seed())} {
		if k, err := ParsePrivateKey(text); err != nil || !k.Equal(key(3)) {
			t.Errorf("private key: %v", err)
		}
	}
	pub := key(3).Public().(ed25519.PublicKey)
	if k, err := ParsePublicKey(FormatPublicKey(pub)); err != nil || !k.Equal(pub) {
		t.Errorf("public key: %v", err)
	}
	half := append(bytes.Clone(key(3)[:32]), key(4)[32:]...)
	for _, text := range []string{
		"", "whsec_", "whsec_" + b64(make([]byte, 23)), "whsec_" + b64(make([]byte, 65)), "whsec_hunter2!", strings.TrimPrefix(s.Reveal(), "whsec_"), s.Reveal() + "\n",
		"whsk_" + b64(half), "whsk_" + b64(make([]byte, 31)), "whpk_" + b64(make([]byte, 33)), "whsec_\r\n" + s.Reveal()[6:],
	} {
		_, e1 := ParseSecret(text)
		_, e2 := ParsePrivateKey(text)
		_, e3 := ParsePublicKey(text)
		if e1 == nil || e2 == nil || e3 == nil || strings.Contains(fmt.Sprint(e1, e2, e3), "hunter2") {
			t.Errorf("%q: %v, %v, %v", text, e1, e2, e3)
		}
	}
	if _, err := NewSecret(strings.NewReader("short")); err == nil {
		t.Error("a secret without randomness")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	s := secret(t, 'Q')
	d := Delivery{ID: "x", Secret: s}
	var out bytes.Buffer
	type hidden struct{ inner Secret }
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x %v %+v", s, d, d, s, s, s, &d, hidden{s})
	fmt.Fprintf(&out, strings.ToLower("%D"), d) // a wrong verb, as a careless log line might have
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "delivery", d)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "delivery", d)
	if err := json.NewEncoder(&out).Encode(d); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"QQQ", s.Reveal()[6:20], "515151", "81 81", "0x51"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%s is in %s", leak, &out)
		}
	}
	if (Secret{}).Reveal() != "" || !(Secret{}).IsZero() {
		t.Error("the zero secret")
	}
}

func TestEventIsACloudEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	e := Event{ID: "xfer_1", Source: "urn:atoll:hub:h", Type: "atoll.task.succeeded.v1", Subject: "task_1", Time: at, Data: map[string]any{"b": 1, "a": "ü"}}
	body, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = `{"specversion":"1.0","id":"xfer_1","source":"urn:atoll:hub:h","type":"atoll.task.succeeded.v1","subject":"task_1","time":"2026-01-02T02:04:05.000006Z","datacontenttype":"application/json","data":{"a":"ü","b":1}}`
	if string(body) != golden {
		t.Errorf("%s", body)
	}
	var sdk cloudevents.Event
	if err := json.Unmarshal(body, &sdk); err != nil {
		t.Fatal(err)
	}
	if err := sdk.Validate(); err != nil || sdk.ID() != e.ID || sdk.Source() != e.Source || sdk.Type() != e.Type || sdk.Subject() != e.Subject || !sdk.Time().Equal(at) {
		t.Errorf("%v, read as %v", err, sdk)
	}
	for _, bad := range []Event{{}, {ID: "a", Source: "b"}, {ID: "a", Type: "b"}, {Source: "a", Type: "b"}, {ID: "a", Source: "%zz", Type: "b"}, {ID: "a", Source: "b", Type: "c", Data: func() {}}} {
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%+v was encoded", bad)
		}
	}
	if body, err := (Event{ID: "a", Source: "b", Type: "c"}).Encode(); err != nil || string(body) != `{"specversion":"1.0","id":"a","source":"b","type":"c"}` {
		t.Errorf("%s, %v", body, err)
	}
}
