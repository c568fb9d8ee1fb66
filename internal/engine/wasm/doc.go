// Package wasm is the engine for strangers' WebAssembly modules, in any language
// that compiles to WASI preview 1: the part on standard input, the result on
// standard output, the task's parameters as environment variables.
//
// A module runs in a child process of package sandbox, never in the node. A
// child holds one module, compiled once by wazero, for one tenant, and computes
// parts one at a time, each in a fresh instance with fresh memory. What is
// wrong with a module stays in its child: a trap or too much output ends the
// part, and a part that loops, dies or talks nonsense costs the child, which is
// replaced. Nothing else is lost.
//
// Every part sees the same world, whatever machine it runs on: arguments
// ["part"], the environment sorted by name, a clock that starts at
// 2000-01-01T00:00:00Z and moves on by a microsecond each time it is read,
// sleeps that move this clock and take no time, random bytes from ChaCha8
// seeded with the digest of the input, no files, no network. Memory limits are
// part of this world, because a module can see memory.grow fail: they come from
// the task or from DefaultMemory, never from what a node happens to have. What
// is left open by WebAssembly itself is the bit pattern of a NaN; see
// [Instance.Floats].
//
// # Pool
//
// A node has at most Config.Children children, whatever the number of tenants.
// A part takes an idle child of its own tenant and module, or starts one, or
// ends the longest idle one of others, or waits. Where parts of one module have
// been short and several are waiting, the one whose turn comes takes some of
// the others along: they go to the child in one write and come back in one
// read, which halves the cost of a no-op part. If that goes wrong, those that
// are not back yet run again, each alone, so that the limits and the blame fall
// on the right one. A part is a pure function of its input; running it twice
// harms nobody.
//
// Compiled code is not cached on disk. A cache that children write is a way
// from one tenant's child into another's, and compiling again costs less than
// starting the process.
//
// # Wire
//
// Frames of package sandbox, integers little-endian. To the child:
//
//	1 load    u32 page limit | module
//	2 run     u8 more | u64 memory limit | u64 output limit | u32 n | n bytes environment | input
//
// The environment is "name=value", NUL after each, sorted. After a run with
// more set, the child may hold its answer back until one without. From it:
//
//	1 loaded  u8 status | message
//	2 ran     u8 status | u64 CPU ns | u64 memory bytes | result, or message if status is not 0
//
// Answers come in the order of the questions. Status: 0 done, 1 failed (a trap,
// a non-zero exit), 2 over a limit, 3 module refused.
package wasm
