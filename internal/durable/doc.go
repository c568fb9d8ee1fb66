// Package durable keeps small files that must not be half written, and data
// directories that only one process may use.
//
// [Replace] and [WriteFile] put a file in the place of another in one step;
// [Create] makes one unless it is there. Each syncs the file and then its
// directory: whoever returns from them finds the new file after a power cut,
// too. [Lock] takes a directory for this process, and says who has it.
//
// Content-addressed bytes are in package blob, rows in package store.
package durable
