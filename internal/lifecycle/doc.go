// Package lifecycle holds the state machines of tasks, parts and leases.
//
//	task    queued -> placing -> running -> verifying -> succeeded | failed | cancelled | expired
//	part    waiting -> running -> succeeded | failed | cancelled
//	lease   offered -> accepted -> running -> reported -> passed | rejected
//	                 \-> refused   \-> lost             \-> cancelled (from any live state)
//
// A task's input is cut into parts; each part runs under one or more leases; a
// lease is one node's promise to do one part for one price. The package is
// pure: it reads no clock and touches no disk. Moments are Unix milliseconds
// handed in by the caller, amounts are integers.
package lifecycle
