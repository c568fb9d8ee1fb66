package wasm

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"atoll/internal/engine/wasm/asm"
	"atoll/internal/node/sandbox"
)

func TestScan(t *testing.T) {
	t.Parallel()
	body := func(parts ...any) []byte { return asm.Command(1, nil, []byte{asm.I64}, asm.Ops(parts...)) }
	f64 := bytes.Repeat([]byte{0}, 8)
	for _, tc := range []struct {
		name   string
		module []byte
		floats bool
		says   string // of an error; "" for none
	}{
		{"no-op", asm.Noop(), false, ""},
		{"echo", asm.Echo(), false, ""},
		{"hog", asm.Hog(), false, ""},
		{"constant that looks like f64.mul", body(asm.Const(0xa2), asm.Drop), false, ""},
		{"every width of integer", body(0x42, asm.Int(-1<<63), asm.Drop, asm.Const(-1<<31), 0xad, asm.Drop), false, ""},
		{"br_table", body(asm.Const(0), 0x0e, 2, 0, 0, 0), false, ""},
		{"memory.fill", body(asm.Const(0), asm.Const(0), asm.Const(0), 0xfc, 11, 0), false, ""},
		{"sign extension", body(asm.Const(0), 0xc0, asm.Drop), false, ""},
		{"f64.mul", body(0x44, f64, 0x44, f64, asm.F64Mul, asm.Drop), true, ""},
		{"conversion only", body(asm.Const(1), 0xb2, 0xbc, asm.Drop), true, ""},
		{"saturating truncation", body(0x43, f64[:4], 0xfc, 0, asm.Drop), true, ""},
		{"f32.load", body(asm.Const(0), 0x2a, 2, 0, asm.Drop), true, ""},
		{"vector constant", body(0xfd, 12, f64, f64, asm.Drop), true, ""},
		{"second function", asm.Module{Funcs: []asm.Func{
			{Export: "_start"}, {Body: asm.Ops(0x43, f64[:4], asm.Drop)},
		}}.Bytes(), true, ""},

		{"nothing", nil, false, "not a WebAssembly module"},
		{"version 2", []byte("\x00asm\x02\x00\x00\x00"), false, "not a WebAssembly module"},
		{"cut section", asm.Echo()[:40], false, "cut short"},
		{"long number", []byte("\x00asm\x01\x00\x00\x00\x0a\xff\xff\xff\xff\xff\x01"), false, "more than 32 bits"},
		{"a billion imports", []byte("\x00asm\x01\x00\x00\x00\x02\x05\xff\xff\xff\xff\x0f"), false, "cut short"},
		{"a billion functions", []byte("\x00asm\x01\x00\x00\x00\x0a\x05\xff\xff\xff\xff\x0f"), false, "cut short"},
		{"a billion types", []byte("\x00asm\x01\x00\x00\x00\x01\x05\xff\xff\xff\xff\x0f"), false, "cut short"},
		{"a billion globals", []byte("\x00asm\x01\x00\x00\x00\x06\x05\xff\xff\xff\xff\x0f"), false, "cut short"},
		{"a table of a billion bytes", asm.Module{Table: 120_000_000}.Bytes(), false, "table of 120000000 elements"},
		{"a table of ten million elements", asm.Module{Table: 10_000_000}.Bytes(), false, ""},
		{"a million locals", asm.Module{Funcs: []asm.Func{{Locals: bytes.Repeat([]byte{asm.I64}, 50_001)}}}.Bytes(), false, "more than 50000 locals"},
		{"unknown instruction", body(0xff), false, "unknown instruction 0xff"},
		{"imported memory", []byte("\x00asm\x01\x00\x00\x00\x02\x09\x01\x03env\x01m\x02\x00\x01"), false, `imports "env"."m", which is not a function`},
	} {
		info, err := scan(tc.module)
		switch {
		case tc.says == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: got %v, want it to say %q", tc.name, err, tc.says)
		case info.floats != tc.floats:
			t.Errorf("%s: floats is %v, want %v", tc.name, info.floats, tc.floats)
		}
	}
	if info, err := scan(asm.Command(77, nil, nil, nil)); err != nil || info.pages != 77 {
		t.Errorf("%d pages, %v; want 77", info.pages, err)
	}
}

// TestFloatOpcodes holds isFloat against the types that a validator gives to
// each instruction: one is on floats if it takes or gives one.
func TestFloatOpcodes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer rt.Close(ctx)
	types := []byte{asm.I32, asm.I64, asm.F32, asm.F64}
	for op := 0x45; op <= 0xc4; op++ {
		found := false
		for _, in := range types {
			for _, arity := range []int{1, 2} {
				for _, out := range types {
					m := asm.Module{Pages: -1, Funcs: []asm.Func{{
						Type: asm.Type{Params: bytes.Repeat([]byte{in}, arity), Results: []byte{out}},
						Body: asm.Ops(asm.Get(0), asm.Get(arity - 1)[:2*(arity-1)], op),
					}}}.Bytes()
					c, err := rt.CompileModule(ctx, m)
					if err != nil {
						continue
					}
					_ = c.Close(ctx)
					found = true
					floats := in == asm.F32 || in == asm.F64 || out == asm.F32 || out == asm.F64
					if info, err := scan(m); err != nil || info.floats != floats {
						t.Errorf("%#02x takes %d of type %#x and gives %#x: floats is %v, %v", op, arity, in, out, info.floats, err)
					}
				}
			}
		}
		if !found {
			t.Errorf("%#02x has no type that was tried", op)
		}
	}
}

// compilerWorker says for each module that it gets whether a compiler that
// others wrote takes it. It is a child, because some modules of fifty bytes make
// that compiler take all the memory there is.
func compilerWorker() sandbox.Worker {
	return sandbox.Worker{Name: "compiler", Serve: func(c *sandbox.Conn) error {
		ctx := context.Background()
		rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
		for {
			f, err := c.Next()
			if err != nil {
				return err
			}
			taken := byte(0)
			if m, err := rt.CompileModule(ctx, f.Body); err == nil {
				taken = 1
				_ = m.Close(ctx)
			}
			if err := errors.Join(c.Put(taken), c.Flush()); err != nil {
				return err
			}
		}
	}}
}

// compiles asks a compiler child; one that dies of a module does not take it.
func compiles(p *sandbox.Process, module []byte) (taken, alive bool) {
	if err := errors.Join(p.Put(0, module), p.Flush()); err != nil {
		return false, false
	}
	f, err := p.Next()
	return err == nil && f.Kind == 1, err == nil
}

// FuzzScan holds that the scanner reads through whatever compiles, except for
// what it refuses on purpose.
func FuzzScan(f *testing.F) {
	for _, m := range [][]byte{asm.Noop(), asm.Echo(), asm.Spin(), asm.Hog(), asm.Flood(1), spinIfBad()} {
		f.Add(m)
	}
	for _, m := range badModels() {
		f.Add(m)
	}
	var compiler *sandbox.Process
	f.Cleanup(func() {
		if compiler != nil {
			compiler.Close()
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := scan(b)
		if err == nil {
			if info.pages > 1<<32 {
				t.Errorf("%d pages", info.pages)
			}
			return
		}
		if s := err.Error(); strings.Contains(s, "which is not a function") || strings.Contains(s, "are allowed") || strings.Contains(s, "locals") {
			return
		}
		if compiler == nil {
			cfg := sandbox.Config{Worker: "compiler", Limits: sandbox.Limits{Memory: 1 << 30, CPU: time.Hour, Frame: 1 << 24}}
			var err error
			if compiler, err = sandbox.Start(context.Background(), cfg); err != nil {
				t.Fatal(err)
			}
		}
		taken, alive := compiles(compiler, b)
		if !alive {
			compiler.Close()
			compiler = nil
		}
		if taken {
			t.Errorf("the scanner refuses what compiles: %v", err)
		}
	})
}

func FuzzRun(f *testing.F) {
	f.Add(append(run{memory: 1, output: 2, env: make([]byte, 4)}.header(), "a=b\x00data"...))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseRun(b)
		if err != nil {
			return
		}
		again := append(append(q.header(), q.env...), q.data...)
		if len(b) > 0 && b[0] > 1 {
			again[0] = b[0] // any value but 0 says more
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}

func FuzzRan(f *testing.F) {
	f.Add(append(ran{cpu: 5, memory: 6}.header(), "result"...))
	f.Add([]byte{3})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseRan(b)
		if err != nil {
			return
		}
		if again := append(a.header(), a.body...); !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}
