// Package fetch follows data pointers that strangers wrote, without letting them
// reach what is behind the operator's firewall.
//
// A [Pointer] says where bytes are:
//
//	data:[TYPE][;base64],…   the bytes themselves (RFC 2397)
//	blob:sha256:…            bytes in the store of whoever reads the pointer
//	https://…                bytes on a public server
//	s3://… dataset://…       recognised, not supported yet
//
// The [Client] is the only way out to addresses that a stranger chose; callbacks
// use it too. Its defence stands at the dial: the address that the socket is
// about to connect to is judged, after every resolver and every spelling of an
// IP address has had its say, so that a name which answers differently the
// second time gains nothing. Refused are loopback, private, shared, link-local,
// multicast and reserved addresses, and the IPv6 ranges that wrap IPv4 ones
// (mapped, NAT64, 6to4, Teredo). Further: no redirects, no proxy from the
// environment, no credentials in URLs, few ports, one deadline for the whole
// exchange, and a size cap on the bytes as sent. Responses that are encoded
// (gzip) are refused and never unpacked.
package fetch

import "time"

// Limits that are not configured.
const (
	maxURL         = 8 << 10  // bytes of an http URL or blob pointer
	maxHeader      = 64 << 10 // bytes of a response's header
	presize        = 1 << 20  // bytes allocated on a server's word for its length
	defaultTimeout = time.Minute
	defaultMax     = 1 << 30 // bytes
)
