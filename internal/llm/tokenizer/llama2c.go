package tokenizer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// FromLlama2c reads a tok.bin of llama2.c for a model of n tokens: an int32, the
// longest token's length; then for each token a float32 score, an int32 length
// and so many bytes. Spaces are plain there; tokens 0 to 2 are unknown, BOS and
// EOS, and 3 to 258 the bytes. Anything after the last token is an error.
func FromLlama2c(r io.Reader, n int) (*Vocab, error) {
	if n < 259 || n > maxTokens {
		return nil, fmt.Errorf("%w: tok.bin for %d tokens, want 259 to %d", ErrVocab, n, maxTokens)
	}
	in := bufio.NewReader(r)
	var head [8]byte
	if _, err := io.ReadFull(in, head[:4]); err != nil {
		return nil, fmt.Errorf("%w: tok.bin: %w", ErrVocab, err)
	}
	v := &Vocab{Model: SPM, Unknown: 0, BOS: 1, EOS: 2, Stop: []int32{1, 2}, Pad: None, AddBOS: true, Prefix: EachPrefix}
	buf := make([]byte, maxToken)
	for i := range n {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, fmt.Errorf("%w: tok.bin ends after %d of %d tokens: %w", ErrVocab, i, n, err)
		}
		size := binary.LittleEndian.Uint32(head[4:])
		if size == 0 || size > maxToken {
			return nil, fmt.Errorf("%w: tok.bin: token %d has %d bytes, want 1 to %d", ErrVocab, i, size, maxToken)
		}
		if _, err := io.ReadFull(in, buf[:size]); err != nil {
			return nil, fmt.Errorf("%w: tok.bin ends within token %d: %w", ErrVocab, i, err)
		}
		t := Token{
			Text:  strings.ReplaceAll(string(buf[:size]), " ", "▁"),
			Score: math.Float32frombits(binary.LittleEndian.Uint32(head[:4])),
			Kind:  Normal,
		}
		switch {
		case i == 0:
			t.Kind = Unknown
		case i < 3: // written there as "\n<s>\n", for people to read
			t.Text, t.Kind = strings.TrimSpace(t.Text), Control
		case i < 259:
			t.Kind = Byte
		}
		v.Tokens = append(v.Tokens, t)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: tok.bin has more than %d tokens; it is of another model", ErrVocab, n)
	}
	_, err := v.check()
	return v, err
}
