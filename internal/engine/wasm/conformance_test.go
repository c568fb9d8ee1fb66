package wasm

import (
	"testing"

	"atoll/internal/engine"
	"atoll/internal/engine/conformance"
	"atoll/internal/engine/wasm/asm"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	input := []byte("a part of a task\n")
	conformance.Run(t, conformance.Case{
		New:          func(t testing.TB) engine.Engine { return newEngine(t, Config{MaxInput: 1 << 16}) },
		GoodModel:    asm.Echo(),
		GoodInput:    input,
		Params:       map[string]string{"language": "fr"},
		Want:         input,
		OtherInput:   []byte("another part\n"),
		BadInput:     []byte("BAD! input"),
		BadInputErr:  engine.ErrCrashed,
		HugeInput:    make([]byte, 1<<16+1),
		SlowInput:    []byte("x"),
		SlowModel:    asm.Spin(),
		ChecksDigest: true,
		BadModels:    badModels(),
	})
}

func badModels() map[string][]byte {
	start := func(m asm.Module) []byte {
		m.Funcs = append(m.Funcs, asm.Func{Export: "_start"})
		return m.Bytes()
	}
	return map[string][]byte{
		"no entry":        asm.Module{Pages: 1}.Bytes(),
		"entry with type": asm.Module{Funcs: []asm.Func{{Type: asm.Type{Params: []byte{asm.I32}}, Export: "_start"}}}.Bytes(),
		"unknown function": start(asm.Module{Imports: []asm.Import{
			{Module: "env", Name: "open_the_door"},
		}}),
		"unknown WASI function": start(asm.Module{Imports: []asm.Import{asm.WASI("fd_teleport", 1)}}),
		"WASI function of other type": start(asm.Module{Imports: []asm.Import{
			asm.WASI("fd_write", 3),
		}}),
		"too much memory at the start": start(asm.Module{Pages: 1<<30/pageSize + 1}),
		"body that does not type":      asm.Command(0, nil, nil, []byte{asm.Drop}),
		"unknown instruction":          asm.Command(0, nil, nil, []byte{0xff}),
		"atomics, not in WASI preview 1": asm.Command(1, nil, nil, asm.Ops(
			0xfe, 0x03, 0x00)),
		// The compiler takes memory for four billion elements, and its child
		// dies of that.
		"bomb":                    []byte("\x00asm\x01\x00\x00\x00\x09\x0a\x01\x00\x41\x00\x0b\xff\xff\xff\xff\x0f"),
		"component, not a module": []byte("\x00asm\x0d\x00\x01\x00"),
	}
}
