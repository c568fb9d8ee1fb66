// Package wasm holds example modules for the wasm engine. Two are so small that
// they are kept as binaries, assembled by hand; redact is an ordinary program in
// Go, compiled to WASI when it is wanted.
//
//go:generate go run ./gen
package wasm

import _ "embed"

// Noop does nothing: what is left is the cost of a task itself.
//
//go:embed noop.wasm
var Noop []byte

// Echo gives its part back, and fails with exit code 3 on a part that starts
// with "BAD!".
//
//go:embed echo.wasm
var Echo []byte
