package identity

import "time"

// Limits on what is read from outside.
const (
	maxKeyFile    = 4 << 10 // bytes of a private key file
	maxPublicPEM  = 1 << 10 // bytes of a public key in PEM
	maxCertPEM    = 16 << 10
	maxToken      = 256 // characters of a token
	maxLabels     = 64
	maxLabelKey   = 63  // bytes
	maxLabelValue = 128 // bytes
	maxVersion    = 64  // bytes of a software version

	// MaxSealed bounds a sealed message. It is a little less than what the bus
	// carries.
	MaxSealed = 4<<20 - 1<<10
)

// Lifetimes of certificates. Short ones stand in for revocation lists: a node
// that is no longer welcome gets no new one.
const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 72 * time.Hour
	nodeLifetime   = 30 * 24 * time.Hour
	// clockSkew is how far behind a peer's clock may be.
	clockSkew = 5 * time.Minute
)
