package wasm

import (
	"errors"
	"fmt"
)

// moduleInfo is what the parent learns about a module without running or
// compiling it.
type moduleInfo struct {
	floats bool   // some function has an instruction on floating-point numbers
	pages  uint64 // of memory at the start
}

var errCut = errors.New("cut short")

const (
	pageSize = 64 << 10

	// Both are the limits of browsers (WebAssembly JavaScript interface,
	// "implementation limits"), so that real modules keep to them.
	maxTable  = 10_000_000
	maxLocals = 50_000
)

// scan reads the binary format of WebAssembly 2.0, as far as it needs to. It
// costs no memory, whatever the module claims. It is no validator: the child
// compiles the module and refuses what is wrong in ways that scan steps over.
func scan(module []byte) (moduleInfo, error) {
	var info moduleInfo
	s := &scanner{b: module}
	if string(s.bytes(8)) != "\x00asm\x01\x00\x00\x00" {
		return info, errors.New("not a WebAssembly module of version 1")
	}
	for s.err == nil && len(s.b) > 0 {
		id := s.byte()
		section := &scanner{b: s.bytes(s.u32())}
		if s.err != nil {
			break
		}
		switch id {
		case 1:
			section.types()
		case 2:
			section.imports()
		case 4:
			section.tables()
		case 5:
			info.pages = section.memories()
		case 10:
			info.floats = section.code()
		case 3, 6, 7, 9, 11: // functions, globals, exports, elements, data
			section.count()
		}
		if section.err != nil {
			return info, fmt.Errorf("section %d: %w", id, section.err)
		}
	}
	return info, s.err
}

// scanner takes bytes from the front of b. After the first error, which it
// keeps, it gives zeros.
type scanner struct {
	b   []byte
	err error
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.b = nil
}

func (s *scanner) bytes(n uint64) []byte {
	if n > uint64(len(s.b)) {
		s.fail(errCut)
		return nil
	}
	out := s.b[:n]
	s.b = s.b[n:]
	return out
}

func (s *scanner) byte() byte {
	if b := s.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// u32 takes an unsigned number of at most 32 bits.
func (s *scanner) u32() uint64 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		b := s.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v >= 1<<32 {
				break
			}
			return v
		}
	}
	s.fail(errors.New("number of more than 32 bits"))
	return 0
}

// skipInt steps over a signed number of at most n bytes.
func (s *scanner) skipInt(n int) {
	for range n {
		if s.byte() < 0x80 {
			return
		}
	}
	s.fail(errors.New("number is too long"))
}

// count takes the number of things that follow, each of at least one byte. The
// compiler reserves memory for as many as are claimed, so that a lie is refused
// here, where it costs nothing.
func (s *scanner) count() uint64 {
	n := s.u32()
	if n > uint64(len(s.b)) {
		s.fail(errCut)
		return 0
	}
	return n
}

func (s *scanner) types() {
	for n := s.count(); n > 0 && s.err == nil; n-- {
		if s.byte() != 0x60 {
			s.fail(errors.New("a type that is not of a function"))
		}
		s.bytes(s.u32()) // parameters
		s.bytes(s.u32()) // results
	}
}

// tables refuses what would be large before the module has run at all.
func (s *scanner) tables() {
	for n := s.count(); n > 0 && s.err == nil; n-- {
		s.byte() // type of the elements
		hasMax := s.byte()
		if least := s.u32(); least > maxTable {
			s.fail(fmt.Errorf("a table of %d elements, at most %d are allowed", least, maxTable))
		}
		if hasMax == 1 {
			s.u32()
		}
	}
}

// imports refuses what is not a function. Which functions there are is known
// where the module is compiled.
func (s *scanner) imports() {
	for n := s.count(); n > 0 && s.err == nil; n-- {
		module, name := s.bytes(s.u32()), s.bytes(s.u32())
		if kind := s.byte(); kind != 0 && s.err == nil {
			s.fail(fmt.Errorf("imports %.64q.%.64q, which is not a function", module, name))
		}
		s.u32()
	}
}

func (s *scanner) memories() (pages uint64) {
	if s.u32() == 0 {
		return 0
	}
	s.byte() // whether there is a maximum, which follows
	return s.u32()
}

// code reports whether a function uses floating-point instructions. It stops at
// the first.
func (s *scanner) code() bool {
	for n := s.count(); n > 0 && s.err == nil; n-- {
		body := &scanner{b: s.bytes(s.u32())}
		body.locals()
		for body.err == nil && len(body.b) > 0 {
			if body.instruction() {
				return true
			}
		}
		if body.err != nil {
			s.fail(body.err)
		}
	}
	return false
}

func (s *scanner) locals() {
	total := uint64(0)
	for groups := s.count(); groups > 0 && s.err == nil; groups-- {
		total += s.u32()
		s.byte() // of this type
		if total > maxLocals {
			s.fail(fmt.Errorf("a function with more than %d locals", maxLocals))
		}
	}
}

// instruction steps over one instruction and reports whether it is one on
// floating-point numbers or vectors.
func (s *scanner) instruction() (floats bool) {
	op := s.byte()
	switch {
	case op == 0x02 || op == 0x03 || op == 0x04: // block, loop, if: type
		s.skipInt(5)
	case op == 0x0c || op == 0x0d || op == 0x10 || op == 0xd2: // br, br_if, call, ref.func
		s.u32()
	case op == 0x0e: // br_table
		for n := s.count(); n > 0 && s.err == nil; n-- {
			s.u32()
		}
		s.u32()
	case op == 0x11: // call_indirect
		s.u32()
		s.u32()
	case op == 0x1c: // select with types
		s.bytes(s.u32())
	case 0x20 <= op && op <= 0x26: // local, global, table
		s.u32()
	case 0x28 <= op && op <= 0x3e: // load, store: alignment, offset
		s.u32()
		s.u32()
		return op == 0x2a || op == 0x2b || op == 0x38 || op == 0x39
	case op == 0x3f || op == 0x40 || op == 0xd0: // memory.size, memory.grow, ref.null
		s.byte()
	case op == 0x41:
		s.skipInt(5)
	case op == 0x42:
		s.skipInt(10)
	case op == 0xfc:
		return s.extended()
	case op == 0x00 || op == 0x01 || op == 0x05 || op == 0x0b || op == 0x0f || op == 0x1a || op == 0x1b || op == 0xd1:
	case 0x43 <= op && op <= 0xc4:
		return isFloat(op)
	case op == 0xfd: // vectors, most of which have lanes of floats
		return true
	default:
		s.fail(fmt.Errorf("unknown instruction %#02x", op))
	}
	return false
}

// isFloat sorts the instructions without operands in the code, 0x43 to 0xc4.
// The two constants, which have such, count as floats and end the scan.
func isFloat(op byte) bool {
	switch {
	case op <= 0x44, // f32.const, f64.const
		0x5b <= op && op <= 0x66, // comparisons
		0x8b <= op && op <= 0xa6, // arithmetic
		0xa8 <= op && op <= 0xab, // i32.trunc_…
		0xae <= op && op <= 0xbf: // i64.trunc_…, conversions, reinterpretations
		return true
	}
	return false
}

// extended steps over an instruction with the prefix 0xfc.
func (s *scanner) extended() (floats bool) {
	switch op := s.u32(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncation
		return true
	case 8, 10, 12, 14: // memory.init, memory.copy, table.init, table.copy
		s.u32()
		s.u32()
	case 9, 11, 13, 15, 16, 17: // data.drop, memory.fill, elem.drop, table.grow, .size, .fill
		s.u32()
	default:
		s.fail(fmt.Errorf("unknown instruction 0xfc %d", op))
	}
	return false
}
