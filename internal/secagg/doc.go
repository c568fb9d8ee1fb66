// Package secagg adds up vectors of many clients so that the hub which does it learns
// the sum and nothing else of any one of them: Bonawitz et al., "Practical secure
// aggregation for privacy-preserving machine learning" (2017), in the version for an
// active hub, with the sparse graph of Bell et al., "Secure single-server aggregation
// with (poly)logarithmic overhead" (2020). docs/secagg.md is the protocol for who would
// implement it again. Messages come in and go out as values; Journal is where a
// client keeps what it must not forget.
//
// # A round
//
//	client                                  hub
//	Advertise   two public keys, signed  ─▶ Server.Advertise
//	            all keys                 ◀─
//	Reveal      its part of the lot      ─▶ Server.Reveal        (only if the graph is sparse)
//	            all parts                ◀─
//	Share       shares of two secrets,
//	            sealed for neighbours    ─▶ Server.Share
//	            the shares for it        ◀─
//	Mask        vector + masks, and      ─▶ Server.Mask          added up as they arrive
//	            whose masks, signed
//	            who has sent one, and
//	            what neighbours signed   ◀─
//	Agree       signature over that      ─▶ Server.Agree
//	            all signatures           ◀─
//	Open        one share per neighbour  ─▶ Server.Open
//	                                        Server.Sum
//
// Client i adds to its vector a mask of its own and one for each neighbour j that has
// shared too, which j subtracts. Of who has sent a vector the neighbours give away the
// secret of the own mask; of who has dropped out before, the secret of the pairwise
// ones; never both, for they answer for one set of survivors only, and at least a
// Threshold of members must have signed the same.
//
// # Who is held off
//
// A hub that says to each client what it likes, together with less than a third of the
// members. Nothing is promised of the sum if members send what they like; a hub that
// wants can always refuse to give one. The caller pins the members: a hub that chose
// them could surround one with its own.
//
// # Sizes
//
// Up to Complete members everybody is a neighbour of everybody. Above, each has Degree
// of them, on a ring in an order that no side can choose. See Plan for how many it takes.
package secagg
