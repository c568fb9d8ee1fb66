// Package codec turns a model update into the vector of integers that is masked and
// summed, and the sum back into floating-point values. It is pure.
//
//	update, float32[Dim]
//	  → clip       scale down to an L2 norm of at most Clip
//	  → rotate     random signs and Hadamard transforms: no coordinate sticks out
//	  → choose     Keep of the coordinates, the same ones at every client (optional)
//	  → clamp      to ±L, which hardly ever touches anything after the rotation
//	  → scale      L becomes Level = 2^(Bits−1) − 1
//	  → round      up or down at random, unbiased, until the norm fits
//	  → words      uint32, negative values as 2^32 − |v|
//	  → noise      added to the words by package privacy, if there is any
//	  → reduce     modulo 2^WordBits, with head room for the sum of all clients
//	Σ of the clients' words, modulo 2^WordBits
//	  → centre, unscale, put back what was chosen, rotate back
//	sum of the updates, float32[Dim]
//
// All steps but clipping, clamping and rounding are linear, and these three are done by
// the client alone: so the sum can be decoded without anybody seeing a summand. [Grid]
// does all of this; TestUnderMasks is the whole way. For sums that nothing hides,
// [Compress] is smaller.
//
// # Rotation
//
// With B the largest power of two ≤ Dim, the first B coordinates get random signs and a
// Hadamard transform of size B, divided by √B; if Dim > B, the last B coordinates get
// the same again, with other signs. The two blocks overlap, so nothing is padded and
// the bytes are those of Dim values. Both steps are orthonormal. Each result is a sum
// of at most Dim terms with independent random signs, and so (Hoeffding), for any
// update x that was chosen before the seed,
//
//	P(|result i| > t) ≤ 2·exp(−t²·B / (2·‖x‖²)).
//
// A union over Dim coordinates, with a chance of 2^−20 and ln rounded up to whole
// powers of two, gives the bound that the integers are made for:
//
//	L = Clip·min(1, √(2·ln 2·(⌈log2 Dim⌉ + 21)/B))
//
// # Rounding, and what noise must hide
//
// v is rounded to ⌊v⌋ + 1 with probability v − ⌊v⌋, else to ⌊v⌋: unbiased, with an
// error of variance at most 1/4. Rounding can lengthen a vector, and the noise for
// differential privacy is sized by the longest. As Kairouz, Liu and Steinke ("The
// distributed discrete Gaussian mechanism for federated learning with secure
// aggregation", 2021, arXiv 2102.06387) we round anew until the squared norm of the k
// integers is at most
//
//	L2² = min( (c + √k)²,  c² + k/4 + (c + √k/2)·√(2·ln(1/β)) ),  β = exp(−1/2),
//
// with c the clip in steps of the grid, which a rounding meets with probability of at
// least 1 − β = 0.39, and in practice nearly always. [Grid.L2] is that bound, with L2
// rounded up to an integer, and since it is integers whose norm is measured, it holds
// exactly, whatever floating point did before. The price is a bias of at most β/(1−β)
// of the rounding error. In the L1 norm a vector of k integers has at most min(L2²,
// √k·L2): [Grid.L1].
//
// # Words
//
// n clients at most Level each, plus noise of variance V in all, must stay within
// ±(2^(WordBits−1) − 1). n·Level is certain. Skellam noise exceeds T with probability
// at most exp(−T·asinh(T/V) + √(T² + V²) − V) on each side (Chernoff), which is taken
// times 2·k for all coordinates: [Grid.Words] finds the least WordBits, and says what
// the chance then is. Without noise a sum cannot wrap around, and WordBits ≤ Bits +
// ⌈log2 n⌉. One coordinate that does wrap around is off by a multiple of 2^WordBits
// steps; nobody notices.
//
// # Fewer coordinates
//
// With Keep = k < Dim only k coordinates of the rotated vector are sent, drawn from the
// public seed, new ones each round; decoding multiplies by Dim/k, which makes it
// unbiased over the draw. Their norm is √(k/Dim) of the whole, give or take 4/√k, and
// is clipped there, so that noise shrinks with them.
//
// # Weights
//
// The sum is of updates as they are. For a mean by weights each client multiplies its
// update with its weight, at most 1, and appends the weight as one more value, so that
// the sum of weights is decoded with the rest; the clip is then for both.
//
// # The same bits everywhere
//
// Given seed and sum, decoding gives the same bits on every machine: additions and
// single products in float32 (never fused), square roots, powers of two. So do clipping
// and rotating. Rounding draws on the client's secret stream.
//
// # What is not promised
//
// A malicious client may send any words; norms bind honest ones. Clamping and clipping
// are biased by design. The 2^−20 of clamping is over seeds that the update does not
// depend on: who knows the seed first can make an update that clamps.
package codec
