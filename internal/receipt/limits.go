package receipt

// Limits on what is signed and on what is read.
const (
	// MaxLeases bounds the leases of one statement.
	MaxLeases = 1024
	// MaxEnvelope bounds a signed statement, in bytes of JSON.
	MaxEnvelope = 2 << 20
	// MaxBundle bounds a bundle: an envelope, a leaf, a proof and a checkpoint.
	MaxBundle = MaxEnvelope + 64<<10
	// MaxError bounds the error text of a failed lease, in bytes.
	MaxError = 4 << 10

	maxText      = 256 // bytes of every other text
	maxResidency = 64  // entries
	maxShares    = 256 // of a lease
	maxProof     = 64  // hashes: one for each level of the tree
	maxRoot      = 1 << 20
	maxPEM       = 4 << 10
	maxLeaf      = 4 << 10
)
