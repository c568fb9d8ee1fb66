package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nkeys"

	"atoll/internal/core"
)

// ErrJoin means that a join request is malformed.
var ErrJoin = errors.New("join request refused")

const joinPurpose = "atoll join request v1"

// JoinRequest is how a node introduces itself: the keys it holds and what it
// says of itself. It names no owner: that is the account behind the token. The
// signature, by the node's key over every other field, shows that the node holds
// the key; that it holds the messaging key is shown at each connection.
type JoinRequest struct {
	Token        Token             `json:"token"`
	Node         core.NodeID       `json:"node"`
	PublicKeyPEM string            `json:"public_key"`
	NkeyPublic   string            `json:"nkey"`
	Version      string            `json:"version"`
	Country      string            `json:"country"` // ISO 3166-1 alpha-2, upper case
	Labels       map[string]string `json:"labels,omitempty"`
	Signature    []byte            `json:"signature"`
}

// JoinGrant is the hub's answer: the owner it has entered, and all the node
// needs to talk to it and to check what it says.
type JoinGrant struct {
	Node       core.NodeID    `json:"node"`
	Owner      core.AccountID `json:"owner"`
	HubID      string         `json:"hub"`
	HubKeyPEM  string         `json:"hub_key"` // signs leases and verdicts
	LogVKey    string         `json:"log_vkey"`
	NatsURLs   []string       `json:"nats_urls,omitempty"`
	UserJWT    string         `json:"user_jwt"`
	CACertPEM  string         `json:"ca_cert,omitempty"`   // of the hub; empty on loopback
	PeerCAPEM  string         `json:"peer_ca,omitempty"`   // that has issued what nodes show one another
	NatsCAPEM  string         `json:"nats_ca,omitempty"`   // of the bus; empty: on loopback, or trusted by systems
	NodeCert   string         `json:"node_cert,omitempty"` // PEM, for mutual TLS with peers, and with the hub away from loopback
	APIKey     Token          `json:"api_key"`             // for blobs and results over HTTP
	ServerTime int64          `json:"server_time_ms"`      // hub clock, Unix milliseconds
}

// SignJoin returns the request with the node's public key and signature set.
func SignJoin(r JoinRequest, key *Key) (JoinRequest, error) {
	r.PublicKeyPEM = key.Public().PEM()
	r.Labels = maps.Clone(r.Labels)
	if _, err := r.check(); err != nil {
		return JoinRequest{}, err
	}
	sig, err := key.Sign(r.signedBytes())
	if err != nil {
		return JoinRequest{}, err
	}
	r.Signature = sig
	return r, nil
}

// VerifyJoin checks the request's form and signature and returns the node's
// key. Whether the token is known is for the caller to find out.
func VerifyJoin(r JoinRequest) (PublicKey, error) {
	public, err := r.check()
	if err != nil {
		return PublicKey{}, err
	}
	if err := public.Verify(r.signedBytes(), r.Signature); err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrJoin, err)
	}
	return public, nil
}

func (r JoinRequest) check() (PublicKey, error) {
	refuse := func(err error) (PublicKey, error) { return PublicKey{}, fmt.Errorf("%w: %w", ErrJoin, err) }
	if _, err := ParseToken(JoinToken, string(r.Token)); err != nil {
		return refuse(err)
	}
	if err := core.CheckName("node", string(r.Node)); err != nil {
		return refuse(err)
	}
	public, err := ParsePublicKey(r.PublicKeyPEM)
	if err != nil {
		return refuse(err)
	}
	if !nkeys.IsValidPublicUserKey(r.NkeyPublic) {
		return refuse(errors.New("nkey is not a public user key"))
	}
	if len(r.Version) > maxVersion || !utf8.ValidString(r.Version) {
		return refuse(fmt.Errorf("version is longer than %d bytes or not UTF-8", maxVersion))
	}
	if len(r.Country) != 2 || strings.Trim(r.Country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return refuse(fmt.Errorf("country %.10q: want two capital letters (ISO 3166-1)", r.Country))
	}
	if err := checkLabels(r.Labels); err != nil {
		return refuse(err)
	}
	return public, nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%d labels, at most %d", len(labels), maxLabels)
	}
	for k, v := range labels {
		if k == "" || len(k) > maxLabelKey || len(v) > maxLabelValue || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("label %.80q: want 1 to %d bytes of UTF-8, and at most %d in the value", k, maxLabelKey, maxLabelValue)
		}
	}
	return nil
}

// signedBytes is a fixed list of fields, each preceded by its length in eight
// bytes, so that no two requests share an encoding. Labels are in key order.
func (r JoinRequest) signedBytes() []byte {
	var b []byte
	field := func(s string) {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range []string{joinPurpose, r.Token.Hash().String(), string(r.Node), r.PublicKeyPEM,
		r.NkeyPublic, r.Version, r.Country} {
		field(s)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		field(k)
		field(r.Labels[k])
	}
	return b
}

// LogValue leaves out the token.
func (r JoinRequest) LogValue() slog.Value {
	return slog.GroupValue(slog.String("node", string(r.Node)), slog.String("nkey", r.NkeyPublic),
		slog.String("version", r.Version), slog.String("country", r.Country))
}

// LogValue leaves out the credentials.
func (g JoinGrant) LogValue() slog.Value {
	return slog.GroupValue(slog.String("node", string(g.Node)), slog.String("owner", string(g.Owner)),
		slog.String("hub", g.HubID))
}
