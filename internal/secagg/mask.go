package secagg

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"runtime"
	"slices"
)

// A mask is the stream of AES-256 in counter mode from a counter of 0, under a key of its
// own, read as little-endian 32-bit words. Words are as wide as a sum at most, so the
// upper bits fall away.

// term is a mask that is to be added or taken away.
type term struct {
	key    [32]byte
	negate bool
}

const (
	wordSize = 4
	// stretch is about how many words of a vector a core takes at a time: few enough to stay
	// in its cache while all masks are added, and enough to be worth a key's expansion.
	stretch = 16 << 10
	// piece is how many words of two masks are made at a time.
	piece = 2 << 10
)

// What is encrypted: zeros give a stream, and ones its complement.
var (
	zeros [piece * wordSize]byte
	ones  = [piece * wordSize]byte(bytes.Repeat([]byte{0xff}, piece*wordSize))
)

// apply adds terms to words, on all cores. Each takes a stretch of the vector and adds all
// terms to it, so that no core needs a vector of its own.
func apply(words []uint32, terms []term) {
	cores := runtime.GOMAXPROCS(0)
	rounds := (len(words) + cores*stretch - 1) / (cores * stretch)
	// As much for each core, in whole blocks of the cipher.
	const block = aes.BlockSize / wordSize
	length := max((len(words)+rounds*cores-1)/(rounds*cores)+block-1, piece) / block * block
	_ = each((len(words)+length-1)/length, func(i int) error { // which cannot fail
		applyAt(words[i*length:min((i+1)*length, len(words))], terms, i*length)
		return nil
	})
}

// applyAt adds terms, two at a time, to the words of a vector from one on which begins a
// block.
func applyAt(words []uint32, terms []term, first int) {
	var a, b [piece * wordSize]byte
	negated := uint32(0)
	for i := range terms {
		if terms[i].negate { // −x is the complement of x, and 1
			negated++
		}
	}
	for two := range slices.Chunk(terms, 2) {
		next := two[0].stream(first)
		other := func(b []byte) { clear(b) }
		if len(two) == 2 {
			other = two[1].stream(first)
		}
		for at := 0; at < len(words); at += piece {
			some := words[at:min(at+piece, len(words))]
			size := wordSize * len(some)
			next(a[:size])
			other(b[:size])
			add(some, a[:size], b[:size])
		}
	}
	for i := range words {
		words[i] += negated
	}
}

// stream returns what makes the term's mask from a word on, a piece or less at a time; its
// complement if it is to be taken away.
func (t *term) stream(first int) func(out []byte) {
	block, err := aes.NewCipher(t.key[:])
	if err != nil { // never: the key has 32 bytes
		panic("secagg: " + err.Error())
	}
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(first*wordSize/aes.BlockSize))
	ctr, plain := cipher.NewCTR(block, counter[:]), &zeros
	if t.negate {
		plain = &ones
	}
	return func(out []byte) { ctr.XORKeyStream(out, plain[:len(out)]) }
}

// add adds two streams to words. Two, and eight words of each in a row, take a third of the
// time that one by one would.
func add(words []uint32, a, b []byte) {
	const eight = 8
	for ; len(words) >= eight; words, a, b = words[eight:], a[eight*wordSize:], b[eight*wordSize:] {
		w, x, y := (*[eight]uint32)(words), (*[eight * wordSize]byte)(a), (*[eight * wordSize]byte)(b)
		w[0] += binary.LittleEndian.Uint32(x[0:]) + binary.LittleEndian.Uint32(y[0:])
		w[1] += binary.LittleEndian.Uint32(x[4:]) + binary.LittleEndian.Uint32(y[4:])
		w[2] += binary.LittleEndian.Uint32(x[8:]) + binary.LittleEndian.Uint32(y[8:])
		w[3] += binary.LittleEndian.Uint32(x[12:]) + binary.LittleEndian.Uint32(y[12:])
		w[4] += binary.LittleEndian.Uint32(x[16:]) + binary.LittleEndian.Uint32(y[16:])
		w[5] += binary.LittleEndian.Uint32(x[20:]) + binary.LittleEndian.Uint32(y[20:])
		w[6] += binary.LittleEndian.Uint32(x[24:]) + binary.LittleEndian.Uint32(y[24:])
		w[7] += binary.LittleEndian.Uint32(x[28:]) + binary.LittleEndian.Uint32(y[28:])
	}
	for i := range words {
		words[i] += binary.LittleEndian.Uint32(a[wordSize*i:]) + binary.LittleEndian.Uint32(b[wordSize*i:])
	}
}
