package wasm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"atoll/internal/engine"
	"atoll/internal/engine/wasm/asm"
)

// dumps returns what a module reads of its world, see asm.Dump.
func dumps(t *testing.T, e *Engine, module, input []byte, params map[string]string) []byte {
	t.Helper()
	out, _, err := load(t, e, module).Run(t.Context(), engine.Input{Data: input, Params: params})
	if err != nil {
		t.Fatal(err)
	}
	return out.Data
}

func TestWorld(t *testing.T) {
	t.Setenv("ATOLL_SECRET", "must not reach a module")
	a, b := newEngine(t, Config{Children: 2}), newEngine(t, Config{Children: 1})
	params := map[string]string{"zeta": "last", "alpha": `{"n":1}`, "mid": ""}
	clock := func(id int32) []byte {
		i64 := asm.Ops(0x42, asm.Int(1)) // precision
		return asm.Ops(asm.Const(id), i64, asm.Const(1024), asm.Call(0))
	}
	clockType := asm.Import{
		Module: "wasi_snapshot_preview1", Name: "clock_time_get",
		Type: asm.Type{Params: []byte{asm.I32, asm.I64, asm.I32}, Results: []byte{asm.I32}},
	}
	u64 := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	for _, tc := range []struct {
		name   string
		module []byte
		want   []byte // nil: only the same each time
	}{
		{
			"environment",
			asm.Dump(asm.WASI("environ_get", 2), asm.Ops(asm.Const(512), asm.Const(1024), asm.Call(0)), 29),
			[]byte("alpha={\"n\":1}\x00mid=\x00zeta=last\x00"),
		},
		{
			"arguments",
			asm.Dump(asm.WASI("args_get", 2), asm.Ops(asm.Const(512), asm.Const(1024), asm.Call(0)), 5),
			[]byte("part\x00"),
		},
		{"wall clock", asm.Dump(clockType, clock(0), 8), u64(clockEpoch*1e9 + clockStep)},
		{"monotonic clock", asm.Dump(clockType, clock(1), 8), u64(clockStep)},
		{
			"random bytes",
			asm.Dump(asm.WASI("random_get", 2), asm.Ops(asm.Const(1024), asm.Const(32), asm.Call(0)), 32), nil,
		},
		{
			// Descriptor 3 would be the first directory; the error is EBADF.
			"directories",
			asm.Dump(asm.WASI("fd_prestat_get", 2), asm.Ops(asm.Const(1024), asm.Const(3), asm.Const(1028), asm.Call(0), asm.Mem(asm.Store32, 0), asm.Const(0)), 8),
			u64(8),
		},
		{
			"an address that nobody wrote to",
			asm.Dump(asm.WASI("sched_yield", 0), asm.Call(0), 16), make([]byte, 16),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := dumps(t, a, tc.module, []byte("input"), params)
			if tc.want != nil && !bytes.Equal(first, tc.want) {
				t.Errorf("got %q, want %q", first, tc.want)
			}
			for _, e := range []*Engine{a, b} {
				if again := dumps(t, e, tc.module, []byte("input"), params); !bytes.Equal(again, first) {
					t.Errorf("got %q, then %q", first, again)
				}
			}
			if other := dumps(t, a, tc.module, []byte("other"), params); tc.want == nil && bytes.Equal(other, first) {
				t.Errorf("another input sees the same bytes")
			}
		})
	}
}

// TestFreshMemory leaves something behind in memory, in little and in much of
// it, and looks for it in the next part, with the same child.
func TestFreshMemory(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1})
	for _, pages := range []int32{1, 40} {
		last := int(pages)*pageSize - 4
		m := asm.Command(int(pages), []asm.Import{asm.WASI("fd_write", 4)}, nil, asm.Ops(
			// The result is what stands at the end of memory before we write there.
			asm.Const(0), asm.Const(int32(last)), asm.Mem(asm.Store32, 0),
			asm.Const(0), asm.Const(4), asm.Mem(asm.Store32, 4),
			asm.Const(1), asm.Const(0), asm.Const(1), asm.Const(8), asm.Call(0), asm.Drop,
			asm.Const(int32(last)), asm.Const(-1), asm.Mem(asm.Store32, 0),
		))
		in := load(t, e, m)
		pid := onlyChild(t, e).proc.PID()
		for range 3 {
			out, use, err := in.Run(t.Context(), engine.Input{})
			if err != nil || !bytes.Equal(out.Data, make([]byte, 4)) {
				t.Fatalf("%d pages: found %x, %v", pages, out.Data, err)
			}
			if use.Memory != int64(pages)*pageSize {
				t.Errorf("%d pages: usage says %d bytes", pages, use.Memory)
			}
		}
		if onlyChild(t, e).proc.PID() != pid {
			t.Error("the parts had different children: the test shows nothing")
		}
	}
}

func TestRefusedParts(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{Children: 1, MaxMemory: 64 << 20, MaxOutput: 1 << 20, MaxInput: 100})
	in := load(t, e, asm.Echo())
	many := map[string]string{}
	for i := range maxParams + 1 {
		many[strings.Repeat("x", i+1)] = ""
	}
	for name, tc := range map[string]struct {
		in   engine.Input
		want error
	}{
		"memory":           {engine.Input{Limits: engine.Limits{Memory: 65 << 20}}, engine.ErrTooLarge},
		"output":           {engine.Input{Limits: engine.Limits{Output: 2 << 20}}, engine.ErrTooLarge},
		"CPU":              {engine.Input{Limits: engine.Limits{CPU: 1 << 60}}, engine.ErrTooLarge},
		"input":            {engine.Input{Data: make([]byte, 101)}, engine.ErrTooLarge},
		"negative":         {engine.Input{Limits: engine.Limits{Wall: -1}}, engine.ErrInput},
		"name":             {engine.Input{Params: map[string]string{"a=b": ""}}, engine.ErrInput},
		"no name":          {engine.Input{Params: map[string]string{"": "x"}}, engine.ErrInput},
		"zero byte":        {engine.Input{Params: map[string]string{"a": "x\x00PATH=y"}}, engine.ErrInput},
		"many parameters":  {engine.Input{Params: many}, engine.ErrInput},
		"large parameters": {engine.Input{Params: map[string]string{"a": strings.Repeat("x", maxEnv)}}, engine.ErrInput},
	} {
		if _, _, err := in.Run(t.Context(), tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var x tail
	var all []byte
	for i := range 3000 {
		b := bytes.Repeat([]byte{byte(i)}, i%13)
		if i%1000 == 999 {
			b = bytes.Repeat([]byte{byte(i)}, 9000)
		}
		all = append(all, b...)
		if n, err := x.Write(b); n != len(b) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(b), err)
		}
		if want := all[max(0, len(all)-len(x.ring)):]; !bytes.Equal(x.bytes(), want) {
			t.Fatalf("after %d writes the tail is wrong", i+1)
		}
	}
}
