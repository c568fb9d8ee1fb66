package fetch

import (
	"strings"
	"testing"

	"atoll/internal/core"
)

func TestParseData(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string][2]string{
		"data:,":                                {"", "text/plain;charset=US-ASCII"},
		"data:,A%20brief%20note":                {"A brief note", "text/plain;charset=US-ASCII"},
		"data:text/csv,a;b":                     {"a;b", "text/csv"},
		"data:;charset=utf-8,%C3%A4":            {"ä", "text/plain;charset=utf-8"},
		"data:;base64,aGk=":                     {"hi", "text/plain;charset=US-ASCII"},
		"data:;base64,aGk%3D":                   {"hi", "text/plain;charset=US-ASCII"},
		"data:application/json;base64,e30=":     {"{}", "application/json"},
		"data:text/plain;charset=x;base64,/+8=": {"\xff\xef", "text/plain;charset=x"},
		"data:text/plain,a,b=c&d?e":             {"a,b=c&d?e", "text/plain"},
	} {
		p, err := ParsePointer(uri, core.DigestOf([]byte(want[0])))
		if err != nil || p.Kind != Inline || string(p.Data) != want[0] || p.MediaType != want[1] {
			t.Errorf("%s: %+v, %v", uri, p, err)
		}
	}
}

func TestParseBlobAndRemote(t *testing.T) {
	t.Parallel()
	d := core.DigestOf([]byte("x"))
	for _, pin := range []core.Digest{{}, d} {
		if p, err := ParsePointer("blob:"+d.String(), pin); err != nil || p.Kind != Blob || p.Digest != d {
			t.Errorf("blob: %+v, %v", p, err)
		}
	}
	for _, uri := range []string{
		"https://example.com", "https://example.com:8443/a?b=c%20d", "https://[2001:db8::1]/x", "https://93.184.216.34/", "http://a_b.example./",
		"https://xn--bcher-kva.example/", "https://1.example/", "https://0x7f.example/",
	} {
		if p, err := ParsePointer(uri, d); err != nil || p.Kind != Remote || p.URI != uri || p.Digest != d {
			t.Errorf("%s: %+v, %v", uri, p, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	d := core.DigestOf([]byte("x"))
	for uri, says := range map[string]string{
		"": "no scheme", "/etc/passwd": "no scheme", "file:///etc/passwd": "scheme is unknown", "ftp://x/": "scheme is unknown", "DATA:,x": "scheme is unknown", "HTTPS://x.example/": "scheme is unknown",
		"data:": "no comma", "data:;base64": "no comma", "data:;base64,a": "illegal base64", "data:;base64,aGk": "illegal base64", "data:;base64,aGl=": "illegal base64",
		"data:;base64,aG%0Ak=": "line break", "data:;base64,a-_=": "illegal base64", "data:;base64,a Gk=": "percent-encoded", "data:,a b": "percent-encoded", "data:,ä": "percent-encoded",
		"data:,a#b": "percent-encoded", "data:,%zz": "escape", "data:text,x": "not a media type", "data:text/plain;x,y": "not a media type", "data:;BASE64,aGk=": "not a media type", "data:a/b ;c=d,x": "not a media type",
		"blob:": "64 lower-case", "blob:md5:00": "64 lower-case", "blob:sha256:" + strings.ToUpper(d.Hex()): "64 lower-case", "blob://" + d.String(): "64 lower-case",
		"https:example.com": "want https://", "https:/example.com": "want https://", "https:///x": "no host", "https://": "no host", "https://:443/": "no host",
		"https://me:secret@example.com/": "credentials", "https://me@example.com/": "credentials", "https://@example.com/": "credentials",
		"https://example.com/#x": "fragment", "https://example.com/#": "fragment", "https://example.com/a b": "not allowed", "https://example.com\\@evil.example/": "not allowed",
		"https://example.com/\r\nX: y": "not allowed", "https://exämple.com/": "not allowed", "https://ex%61mple.com/": "cannot be parsed", "https://a!b/": "not a DNS name",
		"https://2130706433/": "unusual spelling", "https://0x7f000001/": "unusual spelling", "https://0177.0.0.1/": "unusual spelling", "https://127.1/": "unusual spelling",
		"https://127.0.0.1./": "unusual spelling", "https://1.2.3.0x4/": "unusual spelling", "https://127.0.0.1.5/": "unusual spelling", "https://./": "unusual spelling",
		"https://[fe80::1%25eth0]/": "zone", "https://[::1/": "cannot be parsed", "https://[v1.x]/": "cannot be parsed", "https://example.com:0/": "port", "https://example.com:/": "port", "https://example.com:99999/": "port", "https://example.com:080/": "port",
		"https://example.com/" + strings.Repeat("a", maxURL): "longer than", "https://" + strings.Repeat("a.", 130) + "example/": "too long",
		"data:,y": "has digest", "blob:" + core.DigestOf([]byte("y")).String(): "has digest",
	} {
		_, err := ParsePointer(uri, d)
		if core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), says) || len(err.Error()) > 500 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.100q: %v; want %q", uri, err, says)
		}
	}
	for _, uri := range []string{"s3://bucket/key", "dataset://site/name"} {
		if _, err := ParsePointer(uri, d); core.KindOf(err) != core.Unsupported || !strings.Contains(err.Error(), "not supported yet") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func FuzzParsePointer(f *testing.F) {
	for _, s := range []string{
		"data:,x", "data:text/plain;charset=utf-8;base64,aGk=", "data:;base64,aGk%3D", "blob:" + core.DigestOf(nil).String(), "https://example.com/a?b", "https://u:p@h/",
		"https://0x7f.1/", "https://[::ffff:127.0.0.1]/", "s3://b/k", "dataset://s/n", "http://a:80", "https://127.0.0.1:8080/%2f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		p, err := ParsePointer(uri, core.Digest{})
		if err != nil {
			if k := core.KindOf(err); k != core.Invalid && k != core.Unsupported {
				t.Fatalf("%q: %v is a %s", uri, err, k)
			}
			return
		}
		switch p.Kind {
		case Inline:
			if len(p.Data) > len(uri) || p.MediaType == "" {
				t.Fatalf("%q: %d bytes of %q", uri, len(p.Data), p.MediaType)
			}
		case Blob:
			if uri != "blob:"+p.Digest.String() {
				t.Fatalf("%q is another spelling of %s", uri, p.Digest)
			}
		case Remote:
			u, err := parseURL(p.URI)
			if err != nil || u.User != nil || u.Hostname() == "" || len(uri) > maxURL {
				t.Fatalf("%q: %v, %v", uri, u, err)
			}
		default:
			t.Fatalf("%q: kind %d", uri, p.Kind)
		}
	})
}
