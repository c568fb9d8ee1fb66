package atoll_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
	"atoll/internal/httpapi/atoll"
)

// fakeFederations has one federation, of ann, over node paris-1.
type fakeFederations struct{}

const fakeFederation = core.FederationID(1)

func (fakeFederations) find(v atoll.Viewer, id core.FederationID) (api.Federation, error) {
	if id != fakeFederation || v.Account != "ann" && !v.Admin {
		return api.Federation{}, core.Errorf(core.NotFound, "no federation %s", id)
	}
	return api.Federation{ID: id, Account: "ann", Name: "loans", State: api.FederationRunning}, nil
}

func (f fakeFederations) Roster(context.Context, atoll.Viewer, []byte) (api.FederationRoster, error) {
	return api.FederationRoster{Fewest: 3}, nil
}

func (f fakeFederations) Begin(_ context.Context, v atoll.Viewer, spec []byte) (api.Federation, error) {
	if _, err := fed.Parse(spec); err != nil && len(spec) > 2 {
		return api.Federation{}, err
	}
	return api.Federation{ID: fakeFederation, Account: v.Account}, nil
}

func (f fakeFederations) Federation(_ context.Context, v atoll.Viewer, id core.FederationID) (api.Federation, error) {
	return f.find(v, id)
}

func (f fakeFederations) Federations(_ context.Context, v atoll.Viewer, _ atoll.Page) ([]api.Federation, string, error) {
	return []api.Federation{}, "", nil
}

func (f fakeFederations) Rounds(_ context.Context, v atoll.Viewer, id core.FederationID, _ atoll.Page) ([]api.FederationRound, string, error) {
	_, err := f.find(v, id)
	return []api.FederationRound{}, "", err
}

func (f fakeFederations) bytes(v atoll.Viewer, id core.FederationID) ([]byte, error) {
	_, err := f.find(v, id)
	return []byte("{}"), err
}

func (f fakeFederations) Receipt(_ context.Context, v atoll.Viewer, id core.FederationID, _ int) ([]byte, error) {
	return f.bytes(v, id)
}

func (f fakeFederations) Model(_ context.Context, v atoll.Viewer, id core.FederationID) ([]byte, error) {
	return f.bytes(v, id)
}

func (f fakeFederations) Card(_ context.Context, v atoll.Viewer, id core.FederationID) ([]byte, error) {
	return f.bytes(v, id)
}

func (f fakeFederations) Pause(_ context.Context, v atoll.Viewer, id core.FederationID) (api.Federation, error) {
	return f.find(v, id)
}

func (f fakeFederations) Resume(_ context.Context, v atoll.Viewer, id core.FederationID) (api.Federation, error) {
	return f.find(v, id)
}

func (f fakeFederations) Stop(_ context.Context, v atoll.Viewer, id core.FederationID) (api.Federation, error) {
	return f.find(v, id)
}

func (f fakeFederations) Poll(_ context.Context, _ core.NodeID, report *api.SiteReport) (core.FederationID, *fed.Order, error) {
	if len(report.Datasets) == 0 {
		return 0, nil, nil
	}
	return fakeFederation, &fed.Order{At: fed.At{Round: 1, Attempt: 1, Step: fed.StepPlain}, Params: []byte("parameters")}, nil
}

func (f fakeFederations) SiteRoster(_ context.Context, _ core.NodeID, id core.FederationID) (api.SiteRoster, error) {
	return api.SiteRoster{Federation: id}, nil
}

func (f fakeFederations) Reply(_ context.Context, _ core.NodeID, _ core.FederationID, body io.Reader) error {
	return new(fed.Reply).ReadHead(body)
}

// An order comes as bytes, and a header names its federation; what is no specification, no
// report and no reply is refused with its place.
func TestFederationMessages(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	res, data := b.do("POST", "/v1/node/federations/orders", "node-key", `{"datasets":[{"name":"loans","schema_digest":"`+core.DigestOf(nil).String()+`"}]}`)
	o, r := new(fed.Order), bytes.NewReader(data)
	if err := o.ReadHead(r); err != nil || res.StatusCode != http.StatusOK || res.Header.Get(atoll.FederationHeader) != fakeFederation.String() {
		t.Fatalf("%d %v %v", res.StatusCode, res.Header, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "parameters" || o.Step != fed.StepPlain {
		t.Errorf("%+v, %q", o, rest)
	}
	for _, c := range []struct {
		path, key, body string
		status          int
	}{
		{"/v1/federations", "ann-key", `{"rows":"please"}`, http.StatusBadRequest},
		{"/v1/federations", "ann-key", `{"name":`, http.StatusBadRequest},
		{"/v1/node/federations/orders", "node-key", `{"datasets":[{"name":"loans","rows":3}]}`, http.StatusBadRequest},
		{"/v1/node/federations/nonsense/replies", "node-key", "", http.StatusBadRequest},
		{"/v1/node/federations/" + fakeFederation.String() + "/replies", "node-key", "\xff\xff\xff\xff{}", http.StatusRequestEntityTooLarge},
	} {
		if res, data := b.do("POST", c.path, c.key, c.body); res.StatusCode != c.status {
			t.Errorf("%s %q: %d %s", c.path, c.body, res.StatusCode, data)
		}
	}
}
