package fetch

import (
	"encoding/base64"
	"mime"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"atoll/internal/core"
)

// Kind tells what has to be done to get a pointer's bytes.
type Kind int

const (
	Inline Kind = iota + 1 // they are in Pointer.Data
	Blob                   // look Pointer.Digest up in the blob store
	Remote                 // Client.Get
)

// Pointer is a parsed data pointer.
type Pointer struct {
	Kind      Kind
	URI       string      // as written; of Remote only
	Digest    core.Digest // what the bytes must have; zero if unknown
	Data      []byte      // of Inline only
	MediaType string      // of Inline only, with parameters, as written
}

// defaultMediaType is what a data: URI without one means (RFC 2397).
const defaultMediaType = "text/plain;charset=US-ASCII"

// ParsePointer reads a data pointer. A digest that is not zero pins the bytes:
// data: and blob: pointers that contradict it are refused here, others by Get.
// Errors are core.Errors; schemes that are known but not built yet give
// core.Unsupported.
func ParsePointer(uri string, digest core.Digest) (Pointer, error) {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return Pointer{}, badPointer(uri, "it has no scheme")
	}
	switch scheme {
	case "data":
		return parseData(rest, digest)
	case "blob":
		return parseBlob(rest, digest)
	case "https", "http":
		if _, err := parseURL(uri); err != nil {
			return Pointer{}, err
		}
		return Pointer{Kind: Remote, URI: uri, Digest: digest}, nil
	case "s3", "dataset":
		return Pointer{}, core.Errorf(core.Unsupported, "data pointers with scheme %s:// are not supported yet", scheme).
			WithHint("use data:, blob:sha256:… or https://")
	}
	return Pointer{}, badPointer(uri, "its scheme is unknown")
}

func badPointer(uri, why string) error {
	return core.Errorf(core.Invalid, "data pointer %.80q: %s", uri, why).WithHint("use data:…;base64,…, blob:sha256:… or https://…")
}

func parseBlob(rest string, digest core.Digest) (Pointer, error) {
	d, err := core.ParseDigest(rest)
	if err != nil {
		return Pointer{}, badPointer("blob:"+rest[:min(len(rest), maxURL)], "want blob:sha256: and 64 lower-case hex digits")
	}
	if err := checkDigest(digest, d); err != nil {
		return Pointer{}, err
	}
	return Pointer{Kind: Blob, Digest: d}, nil
}

func checkDigest(want, got core.Digest) error {
	if !want.IsZero() && got != want {
		return core.Errorf(core.Invalid, "the data has digest %s, not %s", got, want)
	}
	return nil
}

// parseData reads what follows "data:". Base64 must be the standard alphabet
// with padding, and nothing may stand in it but it.
func parseData(rest string, digest core.Digest) (Pointer, error) {
	head, body, ok := strings.Cut(rest, ",")
	if !ok {
		return Pointer{}, badPointer("data:"+rest[:min(len(rest), maxURL)], "no comma before the data")
	}
	mediaType, isBase64 := strings.CutSuffix(head, ";base64")
	p := Pointer{Kind: Inline, Digest: digest}
	var err error
	if p.MediaType, err = parseMediaType(mediaType); err != nil {
		return Pointer{}, err
	}
	if body, err = unescape(body); err != nil {
		return Pointer{}, err
	}
	if isBase64 {
		if i := strings.IndexAny(body, "\r\n"); i >= 0 { // which encoding/base64 would skip
			return Pointer{}, core.Errorf(core.Invalid, "data: pointer: line break at byte %d of its base64", i)
		}
		if p.Data, err = base64.StdEncoding.Strict().DecodeString(body); err != nil {
			return Pointer{}, core.Errorf(core.Invalid, "data: pointer: %w", err).WithHint("standard base64 with padding")
		}
	} else {
		p.Data = []byte(body)
	}
	if !digest.IsZero() {
		err = checkDigest(digest, core.DigestOf(p.Data))
	}
	if err != nil {
		return Pointer{}, err
	}
	return p, nil
}

func parseMediaType(s string) (string, error) {
	if s == "" {
		return defaultMediaType, nil
	}
	full := s
	if strings.HasPrefix(s, ";") { // parameters of text/plain
		full = "text/plain" + s
	}
	if t, _, err := mime.ParseMediaType(full); err != nil || !strings.Contains(t, "/") || strings.ContainsAny(s, " \t\r\n") {
		return "", core.Errorf(core.Invalid, "data: pointer: %.80q is not a media type", s)
	}
	return full, nil
}

// unescape undoes percent-encoding and refuses what may not stand in a URI.
func unescape(s string) (string, error) {
	escaped := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			escaped = true
		case c <= ' ' || c >= 0x7f || c == '"' || c == '#' || c == '<' || c == '>':
			return "", core.Errorf(core.Invalid, "data: pointer: byte %q at %d of its data must be percent-encoded", c, i)
		}
	}
	if !escaped {
		return s, nil
	}
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", core.Errorf(core.Invalid, "data: pointer: %w", err)
	}
	return out, nil
}

// parseURL refuses URLs that no honest pointer or callback needs. It cannot
// tell whether the host is public: that is judged at the dial.
func parseURL(raw string) (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		// A refused URL is not repeated: it may hold a password.
		return nil, core.Errorf(core.Invalid, "URL refused: %s", why)
	}
	if len(raw) > maxURL {
		return bad("it is longer than " + strconv.Itoa(maxURL) + " bytes")
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || raw[i] == '\\' {
			return bad("byte " + strconv.Itoa(i) + " is not allowed in a URL")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return bad("it cannot be parsed")
	case u.Scheme != "https" && u.Scheme != "http" || !strings.HasPrefix(raw, u.Scheme+"://"):
		return bad("want https://")
	case u.User != nil:
		return bad("it carries credentials")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return bad("it has a fragment")
	}
	if why := checkHost(u); why != "" {
		return bad(why)
	}
	return u, nil
}

func checkHost(u *url.URL) string {
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return "its port is not a number from 1 to 65535"
		}
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "":
		return "it has no host"
	case err == nil && ip.Zone() != "":
		return "its address has a zone"
	case err == nil:
		return ""
	case len(host) > 253:
		return "its host name is too long"
	}
	for i := range len(host) {
		c := host[i]
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return "its host is not a DNS name"
		}
	}
	// 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are addresses to some
	// resolvers and names to others. No top-level domain looks like a number.
	last := strings.TrimSuffix(host, ".")
	last = strings.ToLower(last[strings.LastIndexByte(last, '.')+1:])
	if last == "" || last[0] >= '0' && last[0] <= '9' {
		return "its host is an IP address in an unusual spelling"
	}
	return ""
}
