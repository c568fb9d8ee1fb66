// Package api holds the wire types of Atoll's HTTP API and their validation.
// Hub and clients import the same types, so that what the client can express
// and what the hub accepts cannot drift apart. It imports nothing of the hub.
package api
