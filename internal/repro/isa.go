package repro

import (
	"fmt"
	"slices"
	"strings"
)

// ISA names a set of kernels: the same rules in the instructions of one kind of
// processor. Which one computes can be seen in the time it takes, never in the
// result.
type ISA uint8

// The instruction sets that have kernels.
const (
	Portable ISA = iota // Go alone: the reference for all others
	AVX2                // amd64 with AVX2 and F16C
	AVXVNNI             // the same, with AVX-VNNI for int8 products
	AVX512              // amd64 with AVX-512 F, BW, DQ, VL and VNNI
	NEON                // arm64 with the dot product (FEAT_DotProd); int8 products only
)

// Variable is the environment variable by which a program lets its user, and a
// test, force an instruction set; its value goes to [SelectISA]. This package
// itself reads no environment.
const Variable = "ATOLL_REPRO"

var isaNames = [...]string{"portable", "avx2", "avxvnni", "avx512", "neon"}

func (i ISA) String() string {
	if int(i) < len(isaNames) {
		return isaNames[i]
	}
	return fmt.Sprintf("ISA(%d)", uint8(i))
}

// Available lists what this machine can run, the fastest last. Portable is
// always there.
func Available() []ISA { return append([]ISA{Portable}, machineISAs()...) }

// SelectISA returns the instruction set of that name, or the fastest of this
// machine for the empty name. A name that is unknown or that this machine
// cannot run is an error: nothing is replaced silently.
func SelectISA(name string) (ISA, error) {
	have := Available()
	if name == "" {
		return have[len(have)-1], nil
	}
	i := slices.Index(isaNames[:], strings.ToLower(name))
	if i < 0 {
		return 0, fmt.Errorf("%s=%s: unknown instruction set, want one of %s", Variable, name, strings.Join(isaNames[:], ", "))
	}
	if !slices.Contains(have, ISA(i)) {
		return 0, fmt.Errorf("%s=%s: this processor cannot run it; it has %v", Variable, name, have)
	}
	return ISA(i), nil
}
