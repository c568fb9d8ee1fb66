// Package bus carries messages between a hub and its nodes over NATS, embedded
// in the hub or somebody else's. It moves bytes and promises nothing: a message
// may be lost, doubled or late, and no money and no task state lives here. What a
// message means is said in message.go.
//
// # Subjects
//
//	node.<id>.in.<kind>    hub to node    only the hub publishes, only <id> subscribes
//	node.<id>.out.<kind>   node to hub    only <id> publishes, only the hub subscribes
//
// The server enforces this by each connection's credentials, so the hub takes a
// sender's name from the subject and never from the body. A node has no reply
// inbox: there is no request, only messages each way.
//
// # Credentials
//
// NATS runs in operator mode: an operator key signs one account for Atoll, and
// the account has a scoped signing key whose template is the two lines above. A
// user JWT made with that key names a node and its public nkey and can express no
// other rights. A node proves at each connection that it holds the nkey.
// On a NATS of the operator's own, the rights are written into each JWT instead,
// so that confinement does not rest on how the account was set up (Issuer).
//
// # Headers
//
// traceparent: the W3C trace context of the sender, if it has one.
package bus
