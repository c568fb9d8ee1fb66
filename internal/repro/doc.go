// Package repro is arithmetic that gives the same bits on every machine, so
// that a stranger's work can be checked by doing a piece of it again and
// comparing digests. It holds what the text classifier needs; kernels for
// language models belong here too.
//
// # The norm
//
// RN(e) is the exact value of e rounded to IEEE 754 binary32, to nearest, ties
// to even. Every single operation is rounded so; nothing is ever fused. NaN and
// infinities, given or arising, are refused with [ErrNotFinite].
//
//   - Exp(x): n = RN(RN(x·log2e) + 1.5·2^23) − 1.5·2^23, which is x·log2e
//     rounded to an integer; r = RN(RN(x − n·hi) − RN(n·lo)) with hi + lo = ln 2
//     and n·hi exact; p from c0 by five steps p = RN(RN(p·r) + ci);
//     y = RN(RN(RN(p·RN(r·r)) + r) + 1), times 2^⌊n/2⌋ and then 2^(n−⌊n/2⌋).
//     x > 88.72283 is refused, x < −87.33654 gives +0: results are never
//     subnormal, because machines differ in whether they keep those.
//   - Sqrt(x) = RN(√x).
//   - Dot: acc = +0; for i ascending acc = RN(acc + RN(a[i]·b[i])).
//   - Sum: 16 lanes of +0; for i ascending lane[i mod 16] = RN(lane[i mod 16] +
//     x[i]); then for s = 8, 4, 2, 1 and i < s: lane[i] = RN(lane[i] +
//     lane[i+s]); the result is lane[0].
//   - Softmax: m = the exact maximum; e[i] = Exp(RN(x[i] − m)); t = Sum(e);
//     y[i] = RN(e[i]/t).
//
// # For those who write code here
//
// Go may fuse x*y + z into one operation with one rounding, also across
// statements, and does so on arm64, ppc64le, riscv64, s390x, and on amd64 with
// GOAMD64=v3. Only an explicit conversion of the product, float32(x*y), forbids
// it (Go specification, "Floating-point operators"). The math package may use
// other instructions on each architecture, so its transcendental functions are
// not used; math.Sqrt is exact by IEEE 754.
//
// The tests hold hashes over many inputs. They fail on any architecture, or
// with any change, that gives other bits.
package repro
