package tlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sumdb "golang.org/x/mod/sumdb/tlog"
)

func serve(t *testing.T, total, published int) (base string, bodies [][]byte, cp Checkpoint) {
	t.Helper()
	bodies = someBodies(total)
	tree := open(t, t.TempDir(), bodies, Checkpoint{})
	cp = checkpointOf(bodies, published)
	note, err := testSigner(t, testOrigin, 1).Sign(cp)
	must(t, err)
	h, err := NewHandler(HandlerConfig{
		Tree: tree, Bodies: source(bodies, nil), Log: slog.New(slog.DiscardHandler),
		Published: func() ([]byte, int64) { return note, cp.Size },
	})
	must(t, err)
	srv := httptest.NewServer(http.StripPrefix("/v1/log", h))
	t.Cleanup(srv.Close)
	return srv.URL + "/v1/log", bodies, cp
}

func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	return do(t, http.MethodGet, url)
}

func do(t *testing.T, method, url string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header, string(b)
}

// fetcher reads tiles as x/mod's client does, which verifies each against the
// tree.
type fetcher struct {
	t    *testing.T
	base string
}

func (f fetcher) Height() int                          { return tileHeight }
func (f fetcher) SaveTiles(_ []sumdb.Tile, _ [][]byte) {}
func (f fetcher) ReadTiles(tiles []sumdb.Tile) ([][]byte, error) {
	var out [][]byte
	for _, c := range tiles {
		path := strings.TrimPrefix(c.Path(), "tile/8/") // C2SP names have no height
		code, _, body := get(f.t, f.base+"/tile/"+path)
		if code != http.StatusOK {
			return nil, fmt.Errorf("%s: %d", path, code)
		}
		out = append(out, []byte(body))
	}
	return out, nil
}

func TestServedTilesVerify(t *testing.T) {
	t.Parallel()
	base, bodies, want := serve(t, 1100, 1000)
	code, header, msg := get(t, base+"/checkpoint")
	cp, err := testSigner(t, testOrigin, 1).Key().Open([]byte(msg))
	if code != 200 || err != nil || cp.Root != want.Root || header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %v %v", code, header, err)
	}
	r := sumdb.TileHashReader(sumdb.Tree{N: cp.Size, Hash: cp.Root}, fetcher{t, base})
	for _, i := range []int64{0, 255, 256, 700, 999} {
		p, err := sumdb.ProveRecord(cp.Size, i, r)
		must(t, err)
		must(t, sumdb.CheckRecord(p, cp.Size, cp.Root, i, LeafHash(bodies[i])))
	}
	for path, first := range map[string]int{"/tile/entries/000": 0, "/tile/entries/003.p/232": 768} {
		code, header, body := get(t, base+path)
		if code != 200 || !strings.Contains(header.Get("Cache-Control"), "immutable") {
			t.Fatalf("%s: %d %v", path, code, header)
		}
		for b := []byte(body); len(b) > 0; first++ {
			n := int(binary.BigEndian.Uint16(b))
			if string(b[2:2+n]) != string(bodies[first]) {
				t.Fatalf("%s: entry %d is %q", path, first, b[2:2+n])
			}
			b = b[2+n:]
		}
		if first != 256 && first != 1000 {
			t.Errorf("%s ends at %d", path, first)
		}
	}
	// A smaller part of a tile is a prefix of it, whether the tile is full or not.
	_, _, full := get(t, base+"/tile/0/001")
	_, _, part := get(t, base+"/tile/0/001.p/17")
	if len(full) != tileBytes || part != full[:17*HashSize] {
		t.Error("partial tile is not a prefix")
	}
}

func TestServedPathsRefused(t *testing.T) {
	t.Parallel()
	base, _, _ := serve(t, 1100, 1000)
	for path, want := range map[string]int{
		"/tile/0/003":                               404, // published up to 1000 only
		"/tile/0/003.p/233":                         404,
		"/tile/entries/004.p/1":                     404,
		"/tile/1/000":                               404,
		"/tile/63/000.p/1":                          404,
		"/tile/0/x999/999":                          404,
		"/tile/0/x281/x474/x976/x710/656":           404,
		"/tile/64/000":                              400,
		"/tile/00/000":                              400,
		"/tile/-1/000":                              400,
		"/tile/0/0":                                 400,
		"/tile/0/x000/001":                          400,
		"/tile/0/000/001":                           400,
		"/tile/0/000.p/0":                           400,
		"/tile/0/000.p/256":                         400,
		"/tile/0/000.p/01":                          400,
		"/tile/0/x9223372036854775808/000":          400,
		"/tile/0/x999/x999/x999/x999/x999/x999/999": 400,
		"/tile/0/..%2f..%2fsecret":                  400,
		"/tile/entries/abc":                         400,
		"/tile/data/000":                            400,
		"/other":                                    404,
	} {
		if code, _, body := get(t, base+path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, strings.TrimSpace(body), want)
		}
	}
	if code, _, _ := do(t, http.MethodPost, base+"/checkpoint"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}

func FuzzTileName(f *testing.F) {
	for _, s := range []string{"000", "x001/x234/067", "x001/x234/067.p/8", "x000/001", ".p/1", "000.p/256"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, width, ok := parseTileName(s)
		if !ok {
			return
		}
		want := tileName(n)
		if width < tileWidth {
			want += fmt.Sprintf(".p/%d", width)
		}
		if n < 0 || n >= 1e15 || width < 1 || want != s {
			t.Errorf("%q reads as %d, %d", s, n, width)
		}
	})
}
