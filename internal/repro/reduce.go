package repro

// A laneSum is the partial sums of rule 4.
type laneSum [lanes]float32

// add continues the lanes with x, whose first element belongs to lane 0.
func (l *laneSum) add(x []float32) {
	for len(x) >= lanes {
		v := (*[lanes]float32)(x)
		for i := range l {
			l[i] += v[i]
		}
		x = x[lanes:]
	}
	for i, v := range x {
		l[i] += v
	}
}

// addSquares continues the lanes with RN((x−m)²).
func (l *laneSum) addSquares(x []float32, m float32) {
	for i, v := range x {
		d := float32(v - m)
		l[i%lanes] = float32(l[i%lanes] + float32(d*d))
	}
}

// total adds the lanes up, in a tree of strides 8, 4, 2, 1.
func (l *laneSum) total() float32 {
	for s := lanes / 2; s > 0; s /= 2 {
		for i := range s {
			l[i] += l[i+s]
		}
	}
	return l[0]
}

// sumSquares is the sum of RN(RN(x−m)²) by rule 4.
func sumSquares(isa ISA, x []float32, m float32) float32 {
	var l laneSum
	n := len(x) &^ (lanes - 1)
	addSquares(isa, &l, x[:n], m)
	l.addSquares(x[n:], m)
	return l.total()
}

func sum(x []float32) float32 {
	var l laneSum
	l.add(x)
	return l.total()
}

// softmax sets x[i] to e^RN(x[i]−top) divided by the sum of all of these. An
// infinity below zero gives 0: it stands for a position that is not looked at.
func softmax(isa ISA, x []float32, top float32) {
	var l laneSum
	n := len(x) &^ (lanes - 1)
	expSum(isa, &l, x[:n], top)
	l.expSum(x[n:], top)
	total := l.total()
	divide(isa, x[:n], total)
	dividePortable(x[n:], total)
}

// expSum replaces x by its exponentials and continues the lanes with them.
func (l *laneSum) expSum(x []float32, top float32) {
	for i, v := range x {
		// The difference may overflow to −Inf, for which exp gives 0 as well.
		x[i] = exp(v - top)
		l[i%lanes] += x[i]
	}
}

func dividePortable(x []float32, by float32) {
	for i := range x {
		x[i] /= by
	}
}
