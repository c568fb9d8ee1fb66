// Package conformance shows that receipts are what they say they are to software
// that others wrote: sigstore-go, cosign and golang.org/x/mod/sumdb/note. It is a
// module of its own, so that their dependencies stay out of Atoll's.
//
//	cd conformance && go test ./...
//
// The cosign test runs only where cosign is in PATH:
//
//	go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
package conformance
