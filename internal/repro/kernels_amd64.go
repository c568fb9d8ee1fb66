package repro

import "golang.org/x/sys/cpu"

// machineISAs lists what this processor, and the operating system, allow.
func machineISAs() []ISA {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasF16C {
		return nil
	}
	have := []ISA{AVX2}
	if x.HasAVXVNNI {
		have = append(have, AVXVNNI)
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VNNI {
		have = append(have, AVX512)
	}
	return have
}

// A goroutine cannot be stopped while it is in assembly, so each call is kept
// under about 100 µs.
const (
	callBytes    = 1 << 19 // of weights read for one column
	callElements = 1 << 14 // of an element-wise kernel
)

func quantizeColumn(isa ISA, t tile, c int, x []float32) uint32 {
	if isa == Portable {
		return quantizeColumnPortable(t, c, x)
	}
	return quantizeAVX2(&x[0], &t.q[c*BlockSize], &t.d[c], &t.bias[c], t.width*BlockSize, t.width*4, len(x)/BlockSize)
}

func addSquares(isa ISA, l *laneSum, x []float32, m float32) {
	if isa == Portable {
		l.addSquares(x, m)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		addSquaresAVX2(&l[0], &x[0], m, n)
		x = x[n:]
	}
}

func expSum(isa ISA, l *laneSum, x []float32, top float32) {
	if isa == Portable {
		l.expSum(x, top)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		expSumAVX2(&l[0], &x[0], top, n)
		x = x[n:]
	}
}

func divide(isa ISA, x []float32, by float32) {
	if isa == Portable {
		dividePortable(x, by)
		return
	}
	for len(x) > 0 {
		n := min(len(x), callElements)
		divideAVX2(&x[0], by, n)
		x = x[n:]
	}
}

// scale multiplies x, which is not empty, by f and returns the largest result, and
// whether all are finite.
func scale(isa ISA, x []float32, f float32) (top float32, ok bool) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	top, ok = scalePortable(x[n:], f)
	for x = x[:n]; len(x) > 0; {
		n := min(len(x), callElements)
		t, bits := scaleAVX2(&x[0], f, n)
		top, ok = max(top, t), ok && bits < notFiniteBits
		x = x[n:]
	}
	return top, ok
}

// siluSlice and geluSlice get at most elementsPerPiece elements.
func siluSlice(isa ISA, dst, x []float32) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	if n > 0 {
		siluAVX2(&dst[0], &x[0], n)
	}
	siluPortable(dst[n:], x[n:])
}

func geluSlice(isa ISA, dst, x []float32) {
	n := len(x) &^ 7
	if isa == Portable {
		n = 0
	}
	if n > 0 {
		geluAVX2(&dst[0], &x[0], n)
	}
	geluPortable(dst[n:], x[n:])
}
