// Package text trains and runs a classifier of short texts: support requests to
// route, messages to moderate, mail to sort. It is small enough to travel to
// every node, fast enough to need no accelerator, says which words decided, and
// gives the same bits on every machine, in training as in use.
//
// # How it works
//
// A text is folded (Unicode NFKC, lower case, digits to 0) and cut into words
// and a few symbols. Its features are each word, each pair of neighbours, and
// each n-gram of 3 to 5 letters within a word, borders included, which is what
// carries over to typing errors, inflection, compounds and languages without
// models of their own. Features are hashed into buckets with a sign; repetition
// is damped by the square root; the vector is scaled to length 1. On it stands
// a multinomial logistic regression, trained by AdaGrad with dropout. The
// probabilities are scaled so that, on examples kept apart, the mean
// certainty is the accuracy.
//
// All arithmetic is that of internal/repro: binary32, each operation rounded, in
// stated order. A text's vector holds its features in the order of their first
// occurrence; each class's score is the bias plus, in that order, RN(RN(value ·
// scale) · weight).
//
// The classes of letters are those of Unicode 15.0, as built into Go. A test
// holds a hash over the folding of all code points; where a later Go changes
// it, models need a new version.
//
// # The model file
//
// All numbers are little-endian; float is IEEE 754 binary32.
//
//	8 bytes          "atolltxt"
//	uint32           version, 1
//	uint32           bits: there are 2^bits buckets, 10 to 22
//	uint32           labels L, 2 to 1024
//	uint32           rows R, at most 2^bits, and R·L at most 2^26
//	L × label        uint16 length, then so many bytes of UTF-8, 1 to 200;
//	                 strictly ascending by bytes
//	L × float        bias, at most 2^20 in magnitude
//	R × uint32       bucket of each row, strictly ascending
//	R × float        scale of each row, 2^-96 to 2^20
//	R × L × int8     weights, row by row, -127 to 127
//
// The weight of a bucket for a label is its row's scale times its int8; a bucket
// without a row has no weight. A bucket is bits 32 and up of the feature's hash,
// and its sign is negative where bit 0 is set. The hash is FNV-1a with 64 bits
// over a kind byte and the feature, then the finaliser of splitmix64 (see
// features.go). Files carry no checksum: they are named by their digest.
package text
