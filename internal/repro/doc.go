// Package repro is arithmetic that gives the same bits on every machine, so
// that a stranger's work can be checked by doing a piece of it again and
// comparing digests. It holds what transformers and the text classifier need.
//
// What follows is a standard: whoever keeps its rules gets our bits, in whatever
// language, on whatever processor. testdata/vectors.txt has hashes to check
// against; vectors_test.go says how their inputs are made.
//
// # Terms
//
// RN(e) is the exact value of e rounded to IEEE 754 binary32, to nearest, ties
// to even, with subnormal numbers kept. RN64 and RN16 are the same for binary64
// and binary16. Every single operation is rounded so, and nothing is ever fused:
// a product is rounded before it is added. f32(i) is the integer i, which is
// always exact here. Indices count from 0. max is exact.
//
// NaN and infinities are refused. They are looked for where vectors are
// quantised (rule 1), normalised (rule 6), stored as keys and values, scored and
// sampled; in between they travel on, because no operation here turns them back
// into a number unseen. The bits of a NaN mean nothing.
//
// # Rule 1: quantised activations
//
// For 32 consecutive values x: am = max |x|. If am < 2^-96, d = 0 and all q = 0.
// Else d = RN(am/127); id = RN(127/am); q = RN(x·id) rounded to an integer, ties
// to even; it lies within ±127. The vector's length is a multiple of 32.
//
// # Rule 2: product of Q8_0 weights with quantised activations
//
// A block of weights is 32 int8 w and a scale dw in binary16 (GGUF Q8_0; −128 is
// allowed). acc = +0; for blocks in ascending order: S = Σ w·q, an exact integer;
// acc = RN(acc + RN(f32(S)·RN(dw·d))). There is one chain of additions for each
// result.
//
// # Rule 3: product of floating-point values
//
// acc = +0; for k ascending: acc = RN(acc + RN(a[k]·b[k])). Values in binary16
// are widened first, which is exact.
//
// # Rule 4: sum of a vector
//
// 16 lanes of +0; for i ascending lane[i mod 16] = RN(lane[i mod 16] + x[i]);
// then for s = 8, 4, 2, 1 and i < s: lane[i] = RN(lane[i] + lane[i+s]); the sum
// is lane[0].
//
// # Rule 5: elementary functions
//
// In binary32, with the constants written in exp, tanh and gelu:
//
//   - Exp(x): n = RN(RN(x·log2e) + 1.5·2^23) − 1.5·2^23, which is x·log2e
//     rounded to an integer; r = RN(RN(x − n·hi) − RN(n·lo)) with hi + lo = ln 2
//     and n·hi exact; p from c0 by five steps p = RN(RN(p·r) + ci);
//     y = RN(RN(RN(p·RN(r·r)) + r) + 1), times 2^⌊n/2⌋ and then 2^(n−⌊n/2⌋).
//     x > 88.72283 is refused, x < −87.33654 gives +0: results are never
//     subnormal.
//   - sigmoid(x): e = Exp(−|x|); RN(num/RN(1+e)) with num = 1 for x ≥ 0, else e.
//   - tanh(x): a = min(|x|, 9.5). For a < 0.625: z = RN(x·x), p from p0 by four
//     steps p = RN(RN(p·z) + pi), RN(RN(RN(p·z)·x) + x). Else
//     RN(1 − RN(2/RN(Exp(2a)+1))) with the sign of x.
//   - Sqrt(x) = RN(√x); rsqrt(x) = RN(1/RN(√x)).
//   - SiLU(x) = RN(x·sigmoid(x)).
//   - GELU(x), the tanh form: t = RN(1 + RN(0.044715·RN(x·x)));
//     u = RN(0.7978845608·RN(x·t)); RN(RN(0.5·x)·RN(1 + tanh(u))).
//   - SwiGLU(g, u) = RN(SiLU(g)·u); GeGLU(g, u) = RN(GELU(g)·u).
//
// In binary64, step by step as in elementary64.go: sine and cosine for
// |x| ≤ 2^20, logarithm, exponential. Log(x) of a binary32 is RN of that.
//
// # Rule 6: the parts of a transformer
//
//   - RMSNorm: s = sum of RN(x·x) by rule 4; r = rsqrt(RN(RN(s/n) + eps));
//     y = RN(RN(x·r)·weight).
//   - LayerNorm: m = RN(sum(x)/n); s = sum of RN(c·c) with c = RN(x − m);
//     r = rsqrt(RN(RN(s/n) + eps)); y = RN(RN(RN(c·r)·weight) + bias).
//   - Softmax: m = max x; e = Exp(RN(x − m)); y = RN(e/sum(e)) by rule 4.
//   - Log-softmax: RN(RN(x − m) − RN(log(sum(e)))), the logarithm in binary64.
//   - RoPE: pair i of a head has frequency f = exp(−RN64(RN64(2i/dims)·log(base)))
//     in binary64, or the model's own; at position p its angle is RN64(p·f), and
//     c, s = RN(cos), RN(sin). The pair (a, b) becomes
//     (RN(RN(a·c) − RN(b·s)), RN(RN(a·s) + RN(b·c))).
//   - Attention of a query at position p, which sees positions lo to p: keys and
//     values are stored as binary32 or rounded to binary16, as the profile says.
//     score[j] = RN(dot·scale), dot by rule 3 over the elements of the head;
//     weights by softmax, in which position j of the sequence (not of the window)
//     is element j of the sum; result i is rule 3 over positions, ascending:
//     acc = RN(acc + RN(weight[j]·value[j][i])). There is no rescaling on the way.
//
// # Rule 7: sampling
//
// At temperature 0, or with top-k 1, the token with the largest logit, the lowest
// of equals. Else, m being the largest logit: e = Exp(RN(RN(l − m)/temperature))
// and w = ⌊e·2^40⌋, an integer. Kept are the tokens with w > 0 and e ≥ min-p; of
// these the first k ordered by logit, descending, and token, ascending; of these
// the fewest, in that order, with Σw·2^32 ≥ ⌊top-p·2^32⌋·W, W being the Σw of all
// that were left. The draw is at = ⌊R·W/2^64⌋ with the W of those kept, and
// R = Mix(Mix(seed) + (position+1)·0x9e3779b97f4a7c15), which depends on nothing
// else; the token drawn is the first, by ascending token, whose running Σw
// exceeds at.
//
// # Rule 8: splits
//
// Threads, machines and batches divide rows, columns, heads or sequences, and
// never a sum. A tensor that is split between machines is split by rows, in
// multiples of 32, and its results are gathered; nothing is added up across
// machines. A profile may name boundaries between layers where activations are
// quantised by rule 1: then they are quantised there wherever the layers run.
// Hence a prefill of n positions has the bits of n single steps, and a sequence
// has the same bits alone as in any batch.
//
// # How it is computed
//
// A [Pool] has the threads and the instruction set: portable Go, which is the
// reference, AVX2, AVX-VNNI, AVX-512 with VNNI, NEON. A program should let its user force
// one by the environment variable named in [Variable] through [SelectISA]. A
// [Matrix] holds Q8_0 weights, a [FloatMatrix] others; [Activations] hold
// quantised vectors, a [KV] keys and values in pages. Their layouts are private
// and no part of the standard; README.md tells why they are as they are. A layer
// looks like this:
//
//	RMSNorm(h, x, norm, eps, pool)
//	acts.Set(h, pool)
//	gate.Mul(g, acts, pool)
//	up.Mul(u, acts, pool)
//	SwiGLU(g, g, u, pool)
//	hidden.Set(g, pool)
//	down.Mul(h, hidden, pool)
//	Add(x, h, pool)
//
// Nothing is allocated on that path. Sizes are checked when things are made, or
// once for each call; the error says what was wanted.
//
// # For those who write code here
//
// Go may fuse x*y + z into one operation with one rounding, also across
// statements, and does so on arm64, ppc64le, riscv64, s390x, and on amd64 with
// GOAMD64=v3. Only an explicit conversion of the product, float32(x*y), forbids
// it (Go specification, "Floating-point operators"). The math package may use
// other instructions on each architecture, so its transcendental functions are
// not used; math.Sqrt is exact by IEEE 754. The conversion of NaN or a number out
// of range to an integer differs by architecture, as do the signs of NaN.
//
// The tests hold hashes over many inputs. They fail on any architecture, or
// with any change, that gives other bits.
package repro
