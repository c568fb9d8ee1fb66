package openai

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"atoll/internal/core"
	"atoll/internal/engine"
)

const (
	maxRefusal = 64 << 10 // bytes read of an answer that says no
	maxWords   = 300      // bytes repeated of it
)

// hide takes the key out of what a server says: some repeat what they were sent,
// and errors go to the hub and to requesters.
func hide(said []byte, key string) []byte {
	if key == "" {
		return said
	}
	return bytes.ReplaceAll(said, []byte(key), []byte("…"))
}

// refused says what a status other than 200 means, without the key.
func refused(res *http.Response, key string) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // as much of it as there is
	said, code := words(hide(body, key))
	err := fmt.Errorf("the server answered %d: %s", res.StatusCode, cmp.Or(said, "without a reason"))
	switch c := res.StatusCode; {
	case c == http.StatusRequestEntityTooLarge, c == http.StatusBadRequest && code == "context_length_exceeded":
		return fmt.Errorf("%w: %w", engine.ErrTooLarge, err)
	case c == http.StatusBadRequest, c == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", engine.ErrInput, err)
	case c == http.StatusUnauthorized, c == http.StatusForbidden:
		return errors.New("the server does not take this node's key") // its words might repeat the key
	case c/100 == 3:
		return errors.New("the server sends elsewhere, which is not followed: the node's address of it should be the final one")
	case c == http.StatusTooManyRequests, c == http.StatusServiceUnavailable:
		return again{err, retryAfter(res.Header.Get("Retry-After"), time.Now())}
	case c == http.StatusBadGateway, c == http.StatusGatewayTimeout:
		return again{err, 0}
	}
	return err
}

// words takes what is for people out of an error, and its code. Servers differ in
// its shape: {"error":{"message":…,"code":…}}, {"error":"…"}, {"message":…},
// {"detail":…}.
func words(body []byte) (said, code string) {
	var b struct {
		Error   jsontext.Value `json:"error"`
		Message string         `json:"message"`
		Detail  jsontext.Value `json:"detail"`
	}
	if json.Unmarshal(body, &b) != nil {
		return clean(string(body)), ""
	}
	said, code = errorWords(b.Error)
	return cmp.Or(said, clean(b.Message), clean(string(b.Detail))), code
}

// errorWords reads the member "error" of an answer.
func errorWords(v jsontext.Value) (said, code string) {
	var e struct {
		Message string         `json:"message"`
		Code    jsontext.Value `json:"code"` // a string, a number, or null
	}
	if v.Kind() == '"' {
		_ = json.Unmarshal(v, &e.Message) // a JSON string
	} else if json.Unmarshal(v, &e) != nil {
		return clean(string(v)), ""
	}
	_ = json.Unmarshal(e.Code, &code) // a number is none of the codes looked for
	return clean(e.Message), code
}

func clean(s string) string {
	return core.Clip(strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " "), maxWords)
}

// retryAfter reads seconds or a date; 0 if it is neither.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
