package repro

// The kernels in assembly are written by a program, in a module of its own.
//
//go:generate sh -c "cd gen && go run . -out ../kernels_avx_amd64.s -stubs ../stubs_amd64.go -pkg repro && go run . -neon ../kernels_neon_arm64.s"
