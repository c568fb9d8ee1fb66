// Package sandbox runs strangers' code in child processes of our own binary
// that have given up whatever they can give up: the network, the file system,
// the right to start programs, and any memory, time and files beyond a limit.
//
// It knows how to start, limit, talk to and kill a child, and nothing of what
// the child computes: that is a [Worker], which main hands to [MaybeWorker]
// before it does anything else. engine/wasm is the one user.
//
// # Life of a child
//
// [Start] executes the running binary again as
//
//	atoll sandbox-worker NAME LIMITS
//
// with pipes on descriptors 0, 1 and 2, an environment that holds nothing but
// settings of the Go runtime, and a process group of its own. The child closes
// other descriptors, gives up its rights (see confine), says hello with a
// [Report] of what is in force, and serves frames until its input ends. A child
// is killed, never asked, when it is late, wrong or no longer wanted; on Linux
// the kernel kills it when the parent dies.
//
// # Wire
//
// Both pipes carry frames, integers little-endian:
//
//	u32 length of body | u8 kind | body
//
// The first frame from the child is the hello: kind 255, a Report as JSON.
// Other kinds belong to the worker. Each side refuses a body longer than the
// limit it was given, and never reserves memory for bytes that have not come.
//
// # What each system enforces
//
//	               linux                        darwin           windows
//	process        its own, killed at deadline  same             same
//	rlimits        as cpu fsize nofile core     cpu fsize        -
//	               memlock                      nofile core
//	system calls   seccomp allow-list           -                -
//	network        seccomp                      -                -
//	files          seccomp, Landlock            -                -
//	new code       seccomp, after Seal          -                -
//	parent's death signal                       end of input     end of input
//
// [Probe] tries the forbidden things in a throw-away child and says what
// happened, so that a node prints facts and not intentions.
package sandbox
