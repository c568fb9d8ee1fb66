// Package webhook tells requesters' servers what happened to their tasks.
//
// A callback is a POST of one CloudEvents 1.0 event in structured JSON, signed
// as in Standard Webhooks 1.0:
//
//	content-type:      application/cloudevents+json
//	webhook-id:        the event's ID, the same in every attempt
//	webhook-timestamp: Unix seconds of this attempt
//	webhook-signature: v1,BASE64 v1a,BASE64
//
//	v1   HMAC-SHA256 with the account's secret (whsec_…)
//	v1a  Ed25519 with the hub's key (private whsk_…, public whpk_…)
//
// both over "ID.TIMESTAMP.BODY". Receivers check either with [Keys.Verify], or with
// any library for Standard Webhooks, and drop IDs they have seen: delivery is
// at least once.
//
// The pieces: [Sender] makes one attempt, through the guarded client of package
// fetch, so that no callback reaches what is behind the operator's firewall;
// [Next] says when to try again; [Dispatcher] empties a durable outbox with
// them. An attempt succeeds with a 2xx answer. 410 Gone ends the delivery at
// once; anything else, a redirect included, is tried again for about a day.
package webhook

import "time"

// Limits of one attempt and of what is parsed.
const (
	defaultTimeout  = 10 * time.Second
	maxResponse     = 64 << 10 // bytes of an answer's body that are read, and thrown away
	maxSignatures   = 16       // signatures in one header that Verify looks at
	minSecret       = 24       // bytes of a symmetric secret, as Standard Webhooks asks
	maxSecret       = 64
	maxHeaderLength = 8 << 10 // bytes of a signature header
)

// Tolerance is how far a receiver's clock may be from webhook-timestamp.
const Tolerance = 5 * time.Minute
