package weights

import (
	"errors"
	"fmt"
	"math"
)

// Arch is a family of decoders; see the package comment.
type Arch string

// The architectures.
const (
	Llama Arch = "llama"
	Qwen2 Arch = "qwen2"
	Qwen3 Arch = "qwen3"
)

// Config is a model's hyperparameters. Sizes are counts of elements.
type Config struct {
	Arch    Arch
	Layers  int
	Dim     int // width of the residual stream
	FFN     int // width inside the feed-forward
	Heads   int // of queries
	KVHeads int // of keys and values; divides Heads
	HeadDim int
	Vocab   int // rows of the token embedding
	Context int // positions that the model was made for
	// Window is how many positions, its own included, a position attends to.
	// 0 means all before it.
	Window  int
	NormEps float32
	// TiedEmbeddings means that the output matrix is the token embedding.
	TiedEmbeddings bool
	QKVBias        bool
	QKNorm         bool // an RMSNorm over each head of q and k
	RoPE           RoPE
}

var (
	errMalformed   = errors.New("malformed model")
	errUnsupported = errors.New("unsupported model")
)

// check proves that sizes are sane and fit each other.
func (c *Config) check() error {
	for _, f := range []struct {
		name string
		n    int
		most int
	}{
		{"number of layers", c.Layers, maxLayers}, {"embedding length", c.Dim, maxWidth}, {"feed-forward length", c.FFN, maxWidth},
		{"number of heads", c.Heads, maxHeads}, {"number of key-value heads", c.KVHeads, maxHeads}, {"head length", c.HeadDim, maxHeadDim},
		{"vocabulary size", c.Vocab, maxVocab}, {"context length", c.Context, maxContext},
	} {
		if f.n < 1 || f.n > f.most {
			return fmt.Errorf("%w: the %s is %d, want 1 to %d", errMalformed, f.name, f.n, f.most)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%w: %d heads cannot share %d key-value heads", errMalformed, c.Heads, c.KVHeads)
	case c.Heads*c.HeadDim > maxWidth:
		return fmt.Errorf("%w: %d heads of %d are over %d", errMalformed, c.Heads, c.HeadDim, maxWidth)
	case c.Window < 0 || c.Window > maxContext:
		return fmt.Errorf("%w: the attention window is %d", errMalformed, c.Window)
	case !(c.NormEps > 0 && c.NormEps < 1):
		return fmt.Errorf("%w: the epsilon of RMSNorm is %g, want more than 0 and less than 1", errMalformed, c.NormEps)
	}
	return c.RoPE.check(c.HeadDim)
}

// number narrows a JSON or metadata number to binary32, as the canonical file
// holds it.
func number(name string, v float64) (float32, error) {
	f := float32(v)
	if math.IsNaN(v) || math.IsInf(float64(f), 0) {
		return 0, fmt.Errorf("%w: %s is %v", errMalformed, name, v)
	}
	return f, nil
}
