package discover

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
)

func TestServers(t *testing.T) {
	t.Parallel()
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/models" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	full := serve(say(200, `{"object":"list","data":[{"id":"qwen2.5:7b"},{"id":"llama3.2"}]}`))
	empty := serve(say(200, `{"object":"list","data":null}`))
	got := servers(t.Context(), []Server{
		{Name: "full", URL: full}, {Name: "nobody", URL: nobody}, {Name: "web site", URL: serve(say(200, "<html>"))},
		{Name: "locked", URL: serve(say(401, "{}"))}, {Name: "empty", URL: empty},
		{Name: "silent", URL: serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
	})
	want := []Server{{"full", full, []string{"llama3.2", "qwen2.5:7b"}}, {"empty", empty, nil}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, want %+v", got, want)
	}
}
