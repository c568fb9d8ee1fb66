package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fed"
)

// Caller makes requests to the hub with the node's key; agent.HubHTTP is one. Its errors
// have a core.Kind.
type Caller interface {
	Call(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error)
}

// HTTP is the hub over its API.
type HTTP struct{ Caller }

const (
	jsonType   = "application/json"
	octets     = "application/octet-stream"
	maxTerms   = 64 << 20
	transferIn = 10 * time.Minute // bounds one message, in either direction
)

// Order implements Hub.
func (h HTTP) Order(ctx context.Context, report *api.SiteReport) (id core.FederationID, o *fed.Order, err error) {
	ctx, cancel := context.WithTimeout(ctx, transferIn)
	defer cancel()
	body, err := json.Marshal(report)
	if err != nil {
		return 0, nil, err
	}
	res, err := h.Call(ctx, http.MethodPost, "/v1/node/federations/orders", jsonType, body)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return 0, nil, nil
	}
	if err := id.UnmarshalText([]byte(res.Header.Get("Atoll-Federation"))); err != nil {
		return 0, nil, err
	}
	o = new(fed.Order)
	if err := o.ReadHead(res.Body); err != nil {
		return 0, nil, err
	}
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(res.Body, fed.MaxParams+1))
	if err == nil && b.Len() > fed.MaxParams {
		err = core.Errorf(core.TooLarge, "an order with parameters of over %d bytes", int64(fed.MaxParams))
	}
	o.Params = b.Bytes()
	return id, o, err
}

// Terms implements Hub.
func (h HTTP) Terms(ctx context.Context, id core.FederationID) (out api.SiteRoster, err error) {
	ctx, cancel := context.WithTimeout(ctx, transferIn)
	defer cancel()
	res, err := h.Call(ctx, http.MethodGet, "/v1/node/federations/"+id.String(), "", nil)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	return out, json.NewDecoder(io.LimitReader(res.Body, maxTerms)).Decode(&out)
}

// Reply implements Hub.
func (h HTTP) Reply(ctx context.Context, id core.FederationID, r *fed.Reply) error {
	ctx, cancel := context.WithTimeout(ctx, transferIn)
	defer cancel()
	body, err := r.AppendBinary(nil)
	if err != nil {
		return err
	}
	res, err := h.Call(ctx, http.MethodPost, "/v1/node/federations/"+id.String()+"/replies", octets, body)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
