// Package quant turns the number formats of model files into float32 and back:
// plain floats (F32, F16, BF16) and those block formats of GGUF that most files use.
//
// A row of a matrix is a sequence of blocks; no block spans two rows. All
// numbers are little-endian. d, m and s are IEEE binary16 ("f16").
//
//	F32   1 element,   4 bytes
//	F16   1 element,   2 bytes
//	BF16  1 element,   2 bytes   the upper half of a binary32
//	Q8_0  32 elements, 34 bytes  d, 32 × int8 q            x = d·q
//	Q4_0  32 elements, 18 bytes  d, 16 bytes of nibbles    x = d·(q−8); low nibbles
//	                             are elements 0–15, high ones 16–31
//	Q4_1  32 elements, 20 bytes  d, m, nibbles            x = RN(d·q + m)
//	Q5_0  32 elements, 22 bytes  d, 32 fifth bits, nibbles x = d·(q−16)
//	Q5_1  32 elements, 24 bytes  d, m, fifth bits, nibbles x = RN(d·q + m)
//	Q4_K  256 elements, 144 bytes d, m, 12 bytes with eight 6-bit scales s and
//	                             eight 6-bit minima t, 128 bytes of nibbles
//	                             x = RN(d·s·q − m·t)
//	Q5_K  256 elements, 176 bytes as Q4_K with 32 bytes of fifth bits before the
//	                             nibbles
//	Q6_K  256 elements, 210 bytes 128 bytes of low nibbles, 64 bytes of high
//	                             pairs, 16 × int8 s, d     x = d·s·(q−32)
//
// # The same bits everywhere
//
// Every product above fits in the 24 bits of a binary32 (the widest is 11·7·6
// bits of Q6_K), so it is exact in any order of evaluation; where something is
// added or subtracted, that rounds once. Machines can therefore not differ, fused or
// not.
//
// Quantising to Q8_0, for 32 numbers x, with RN rounding to binary32 and RN16
// to binary16, both to nearest, ties to even:
//
//	a = max |x|;  d = RN(a/127);  i = RN(1/d);
//	q = RN(x·i) rounded to a whole number, halves away from zero;
//	stored: RN16(d) and q
//
// These are the bytes that ggml's reference quantiser writes. One thing is
// settled here that ggml leaves to chance: where RN16(d) is 0 (a below about
// 3.8e-6), the block is all zero bytes. a over about 8.3 million has no f16
// scale and is an error.
//
// NaN and infinities, as elements or as scales, are refused with [ErrNotFinite].
package quant
