// Package quickstart shows the product's main job on real work, in about a
// minute: a network of strangers does one task, one of them lies, one dies, one
// must not be used; what is right is found out, paid, and proven offline.
//
//	rehearse   run.go       start the network, submit, follow
//	work       work.go      the corpus, the model, the answers
//	collect    collect.go   what the hub says afterwards
//	prove      prove.go     receipts, checked without the hub; a copy, changed
//	tell       language.go  a language model goes on with a sentence; another owner computes it again
//	show       render.go    Result -> text: a pure function
//
// Nothing here knows the inside of a hub or a node: it is an ordinary client,
// and its numbers are computed from what any client is told.
package quickstart
