// Package asm assembles small WebAssembly modules from opcodes, for tests, for
// benchmarks and for the examples: a no-op module of some seventy bytes, and
// modules that misbehave in one way each, without a compiler for any language.
//
// It knows the binary format (WebAssembly core specification 2.0, chapter 5)
// and checks nothing: what it assembles is what the caller wrote.
package asm

// Value types.
const (
	I32 = 0x7f
	I64 = 0x7e
	F32 = 0x7d
	F64 = 0x7c
)

// Opcodes, as many as the modules here need.
const (
	Unreachable = 0x00
	Block       = 0x02
	Loop        = 0x03
	If          = 0x04
	End         = 0x0b
	Br          = 0x0c
	BrIf        = 0x0d
	Return      = 0x0f
	Drop        = 0x1a
	Load32      = 0x28
	Store32     = 0x36
	MemoryGrow  = 0x40
	Eqz         = 0x45
	Eq          = 0x46
	Add         = 0x6a
	F64Mul      = 0xa2

	Void = 0x40 // block type without a result
)

// Type is the type of a function.
type Type struct{ Params, Results []byte }

// Import is an imported function.
type Import struct {
	Module, Name string
	Type         Type
}

// Func is a function; Body is its opcodes without the final End.
type Func struct {
	Type   Type
	Locals []byte // types of the locals
	Body   []byte
	Export string // "" for none
}

// Data is copied into memory when the module is instantiated.
type Data struct {
	Offset int32
	Bytes  []byte
}

// Module is a module with at most one memory, exported as "memory". Imports
// have the first function indices.
type Module struct {
	Imports []Import
	Funcs   []Func
	Pages   int // of memory at the start; -1 for no memory
	Table   int // elements of a table of functions; 0 for no table
	Data    []Data
}

// Bytes assembles m.
func (m Module) Bytes() []byte {
	var types, imports, funcs, exports, code, data [][]byte
	typeOf := func(t Type) []byte {
		types = append(types, join([]byte{0x60}, text(t.Params), text(t.Results)))
		return Uint(uint64(len(types) - 1))
	}
	for _, i := range m.Imports {
		imports = append(imports, join(text([]byte(i.Module)), text([]byte(i.Name)), []byte{0}, typeOf(i.Type)))
	}
	for i, f := range m.Funcs {
		funcs = append(funcs, typeOf(f.Type))
		var locals [][]byte
		for _, l := range f.Locals {
			locals = append(locals, []byte{1, l})
		}
		code = append(code, text(join(vec(locals), f.Body, []byte{End})))
		if f.Export != "" {
			exports = append(exports, join(text([]byte(f.Export)), []byte{0}, Uint(uint64(len(m.Imports)+i))))
		}
	}
	if m.Pages >= 0 {
		exports = append(exports, join(text([]byte("memory")), []byte{2, 0}))
	}
	for _, d := range m.Data {
		data = append(data, join([]byte{0}, Const(d.Offset), []byte{End}, text(d.Bytes)))
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, n int, body []byte) {
		if n > 0 {
			out = append(append(out, id), text(body)...)
		}
	}
	section(1, len(types), vec(types))
	section(2, len(imports), vec(imports))
	section(3, len(funcs), vec(funcs))
	section(4, m.Table, join([]byte{1, 0x70, 0}, Uint(uint64(m.Table))))
	section(5, m.Pages+1, join([]byte{1, 0}, Uint(uint64(max(m.Pages, 0)))))
	section(7, len(exports), vec(exports))
	section(10, len(code), vec(code))
	section(11, len(data), vec(data))
	return out
}

// Ops joins opcodes (byte or int) and encoded pieces ([]byte) to a body.
func Ops(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			out = append(out, byte(p))
		case []byte:
			out = append(out, p...)
		default:
			panic("asm: an opcode is an int, an encoded piece is a []byte")
		}
	}
	return out
}

// Const pushes v.
func Const(v int32) []byte { return append([]byte{0x41}, Int(int64(v))...) }

// Call calls function i.
func Call(i int) []byte { return append([]byte{0x10}, Uint(uint64(i))...) }

// Get and Set push and pop local i.
func Get(i int) []byte { return append([]byte{0x20}, Uint(uint64(i))...) }

// Set pops a value into local i.
func Set(i int) []byte { return append([]byte{0x21}, Uint(uint64(i))...) }

// Mem is a load or store of 32 bits at a fixed offset from the address.
func Mem(op int, offset uint64) []byte { return join([]byte{byte(op), 2}, Uint(offset)) }

// Uint is v in LEB128.
func Uint(v uint64) []byte {
	var out []byte
	for ; v >= 0x80; v >>= 7 {
		out = append(out, byte(v)|0x80)
	}
	return append(out, byte(v))
}

// Int is v in signed LEB128.
func Int(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func text(b []byte) []byte { return append(Uint(uint64(len(b))), b...) }

func vec(items [][]byte) []byte { return append(Uint(uint64(len(items))), join(items...)...) }

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
