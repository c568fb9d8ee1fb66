// Package privacy bounds what sums over people's data tell of any one of them: an
// accountant, noise, and a budget that is never overspent. It is pure; who stores a
// budget and who sends a sum is elsewhere.
//
// A release is (ε, δ)-differentially private if adding or removing one unit of the data
// changes the probability of any outcome by a factor of at most e^ε, but for a
// probability of δ (Dwork et al. 2006). A [Unit] is a record, a customer or a site; a
// guarantee for one says nothing of the others. "Removing" is replacing by zeros: who
// takes part is public, what they have is not. Noise under masks hides a client, all of
// it: the norms of codec.Grid are those of a whole update. Records and customers of a
// site are hidden by noise at the site, on sums of what was clipped for each
// ([Central]); a customer of two sites is two units.
//
// # Accounting
//
// Loss is kept as Rényi divergence at fixed [Orders] (Mironov 2017, arXiv 1702.07476):
// a [Curve]. Of what is done one after the other to the same data the curves add up. ε
// comes from the curve at the end (Canonne, Kamath, Steinke 2020, arXiv 2004.00010,
// Prop. 12):
//
//	ε = min over α of  D(α) + ln(1 − 1/α) − (ln δ + ln α)/(α − 1)
//
// [Gaussian] is exact at each order without sampling, and at whole orders with it
// (Mironov, Talwar, Zhang 2019, arXiv 1908.10530); [Skellam] is the bound of Agarwal,
// Kairouz and Liu (2021, arXiv 2110.04995), for noise of variance V on vectors of
// integers:
//
//	D(α) ≤ α·L2²/(2V) + min( ((2α−1)·L2² + 6·L1)/(4V²), 3·L1/(2V) )
//
// Every ε and δ of this package is an upper bound (to the rounding of float64; tests
// hold them against the definition where that can be summed up). Against
// dp-accounting's privacy loss distributions ε is 6 to 10 percent larger as a rule, and
// 15 and 31 in two of the twelve cases of testdata/vectors.json. We take that for one
// method that covers Skellam noise in many dimensions and sums up in a few numbers.
//
// A rate below 1 is for units that take part by a coin that nobody else sees, such as
// the records of a batch in DP-SGD, drawn independently (Poisson); batches of a fixed
// size cut from a shuffled list are something else, and this number is not proven for
// them. The clients of a round are seen by the hub: their rate is 1.
//
// # Noise
//
// Words are random under a key from the operating system ([keystream.Secret]), and what
// is drawn are integers with exactly the distribution that the proofs speak of (see
// staircase): no rounding decides, so the low bits give nothing away (Mironov 2012).
// [NewSkellam] is for sums under masks, [Central] for a site that trains by DP-SGD, and
// [NewDiscreteGaussian] for a hub that is trusted with the sum of words: with variance
// (z·L2)² its curve is that of Gaussian with noise z. Time spent on a draw depends on
// it; who can measure that is not kept out.
//
// Under masks each client adds a share. With n clients of whom at least t are in every
// sum that is unmasked, and of whom c may tell the hub their noise, each adds
//
//	V/(t − c)
//
// so that the honest part of the noise has variance V in the worst case ([Cohort]). If
// all n stay and are honest the sum has n/(t − c) times that: the price of not knowing.
// Under package secagg t is its Threshold, over two thirds of n, and c a third of n at
// most, so that the price is up to 3 times the variance. Clients that are told the sum
// know their own share, so c is at least 1 then. Skellam noise adds up to Skellam
// noise, so more is never worse. Where the hub sees the sums of groups, each group is a
// cohort of its own, and its sum needs all of V; a unit is in one group and pays for
// one.
//
// # Budget
//
// A [Budget] belongs to a dataset and counts all federations together. It adds up
// curves and not ε: two charges of ε = 3 come to about 4.4. Federations are chosen
// after seeing what earlier ones gave, and then the order may not be picked at the end,
// as it is above: we know of no proof for a budget that stops when the best order is
// used up, and of a counterexample for one that knows all of each mechanism (arXiv
// 2602.15815). For one order that was fixed beforehand, adding up is sound, whatever is
// chosen in between, also in rounds that overlap (Feldman and Zrnic 2021, arXiv
// 2008.11193; Haney et al. 2023, arXiv 2309.05901). So δ is shared out over the orders
// when the budget is opened, one half to the order that suits Gaussian noise best, the
// rest equally to the others; each order is a budget of its own with its part of δ.
// What goes on while any of them lasts is within ε at the sum of these parts:
//
//	E[(1 − e^(ε−L))₊] at the end ≤ Σ over orders E[(1 − e^(ε−L))₊] where that order stopped ≤ δ
//
// where L is the loss so far. It costs 3 to 5 percent of ε.
//
// A charge is reserved before anything is computed, so that a round that cannot be paid
// for is not begun; spent, durably, before the first byte leaves; and given back only
// if none ever will. A round that fails later was spent: the hub may have what it
// needs. A second attempt has new noise and is another charge. What is spent never
// comes back with time.
//
// # What is not promised
//
// Differential privacy of a sum hides a unit, not what is true of all. A node that
// clips wrongly or adds no noise has no guarantee, and makes that of others weaker than
// V only if more than c do. Looking at data by other ways than charges (a metric that
// is reported without noise, a roster that depends on the data, the time a site takes)
// is not counted.
package privacy
