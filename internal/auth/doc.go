// Package auth answers who a request comes from and how often it may come.
//
//	Authorization: Bearer atl_key_…  ─>  Keys ─> Principal ─> scopes
//	Principal or address             ─>  Limiter ─> RateLimit headers, or 429
//
// A key has one or more of four scopes; a route asks for one:
//
//	admin      operates the hub: accounts, credit, keys, join tokens; implies the next two
//	requester  submits and cancels, and manages what its account owns; implies read
//	read       sees what its account owns, and the market
//	node       a node's own key: the models, inputs and results of leases it holds
//
// Keys are secrets of 256 bits, stored and cached only as SHA-256.
package auth
