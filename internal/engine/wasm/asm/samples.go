package asm

import "slices"

const wasi = "wasi_snapshot_preview1"

func i32s(n int) []byte { return slices.Repeat([]byte{I32}, n) }

// WASI is an imported function of WASI preview 1 that takes params values of 32
// bits and returns an error number, or nothing for "proc_exit".
func WASI(name string, params int) Import {
	t := Type{Params: i32s(params), Results: []byte{I32}}
	if name == "proc_exit" {
		t.Results = nil
	}
	return Import{Module: wasi, Name: name, Type: t}
}

// Command is a module of one function, the entry point _start.
func Command(pages int, imports []Import, locals, body []byte, data ...Data) []byte {
	return Module{
		Imports: imports, Pages: pages, Data: data,
		Funcs: []Func{{Locals: locals, Body: body, Export: "_start"}},
	}.Bytes()
}

// Noop does nothing and gives an empty result.
func Noop() []byte { return Command(-1, nil, nil, nil) }

// Echo gives its input as its result, and exits with code 3 if the input's
// first four bytes are "BAD!".
//
// Memory: an iovec {address, length} at 0, the count at 8, the buffer at 1024.
func Echo() []byte {
	const buf, size = 1024, 60 << 10
	const bad = int32('B') | 'A'<<8 | 'D'<<16 | '!'<<24
	read, write, exit := 0, 1, 2
	return Command(1,
		[]Import{WASI("fd_read", 4), WASI("fd_write", 4), WASI("proc_exit", 1)}, nil,
		Ops(
			Loop, Void,
			Const(0), Const(buf), Mem(Store32, 0),
			Const(0), Const(size), Mem(Store32, 4),
			Const(0), Const(0), Const(1), Const(8), Call(read), Drop,
			// Nothing read: the end.
			Const(0), Mem(Load32, 8), Eqz, If, Void, Return, End,
			Const(0), Mem(Load32, buf), Const(bad), Eq, If, Void, Const(3), Call(exit), End,
			Const(0), Const(0), Mem(Load32, 8), Mem(Store32, 4),
			Const(1), Const(0), Const(1), Const(8), Call(write), Drop,
			Br, Uint(0),
			End,
		))
}

// Spin never ends.
func Spin() []byte { return Command(-1, nil, nil, Ops(Loop, Void, Br, Uint(0), End)) }

// Hog takes memory page by page until it is refused, and then traps.
func Hog() []byte {
	return Command(1, nil, nil, Ops(
		Loop, Void,
		Const(16), MemoryGrow, Uint(0), Const(-1), Eq, If, Void, Unreachable, End,
		Br, Uint(0), End,
	))
}

// Flood writes 4 KiB to a descriptor (1 the result, 2 messages) for ever.
func Flood(fd int32) []byte {
	return Command(1, []Import{WASI("fd_write", 4)}, nil, Ops(
		Const(0), Const(1024), Mem(Store32, 0),
		Const(0), Const(4096), Mem(Store32, 4),
		Loop, Void,
		Const(fd), Const(0), Const(1), Const(8), Call(0), Drop,
		Br, Uint(0), End,
	))
}

// Say writes text to a descriptor and then runs what follows.
func Say(fd int32, text string, then []byte) []byte {
	return Command(1, []Import{WASI("fd_write", 4), WASI("proc_exit", 1)}, nil, Ops(
		Const(0), Const(1024), Mem(Store32, 0),
		Const(0), Const(int32(len(text))), Mem(Store32, 4),
		Const(fd), Const(0), Const(1), Const(8), Call(0), Drop,
		then,
	), Data{Offset: 1024, Bytes: []byte(text)})
}

// Dump gives as its result n bytes that the function call leaves at address
// 1024: import 0 is the function, import 1 is fd_write.
func Dump(from Import, call []byte, n int32) []byte {
	return Command(1, []Import{from, WASI("fd_write", 4)}, nil, Ops(
		call, Drop,
		Const(0), Const(1024), Mem(Store32, 0),
		Const(0), Const(n), Mem(Store32, 4),
		Const(1), Const(0), Const(1), Const(8), Call(1), Drop,
	))
}
