// Package fed trains one model over the rows of several owners, who keep them. A Spec
// says what is learnt, from what and on what terms. Each owner's Site trains on its own
// rows and sends what came of it as a vector under masks (internal/secagg); a Machine, on
// the hub, adds these up without seeing one, makes a step of the sum, and begins the next
// round. docs/federation.md is for who writes a Spec.
//
//	Machine ── Order ──▶ Site: policy ─ train ─ clip, round, noise ─ mask
//	Machine ◀─ Reply ─── Site
//	   └─ sum ─▶ decode ─▶ optimizer ─▶ the next round's parameters
//
// A Machine is pure: it decides by what it is told, and by the time that it is told, and
// returns what to send. All of it follows from its State when the round began and from
// the replies since, in their order: who keeps both can make it anew after a crash, and
// goes on without asking for anything twice. A Site is a function of its orders, its rows
// and its journals: whatever comes twice gets the same answer.
//
// # Groups
//
// With a robust rule (internal/fed/robust) a lot deals the sites into groups, each attempt
// anew. Each group is added up under masks of its own and goes through its steps by itself;
// one that fails is out of the round. Before masks are opened all groups have come so far,
// or failed: for a site opens those of one attempt at a round alone. The rule is then over
// the groups' means. Without a rule there is one group, of all.
//
// # At their own pace
//
// In an asynchronous run (Async) a round is a buffer. The step Ready comes first: sites
// answer it when they have trained, on whichever parameters were the newest when they began,
// and the first so many become the cohort, by their order's Roster. A site keeps its update
// in its journal until a buffer takes it, and it is in one alone.
//
// # What a vector has
//
// The update, clipped, rotated and rounded to integers (internal/codec), is followed by
// whole numbers in bytes, one to a word, which sum up exactly: the rows trained on, and of
// the rows held out how many there are, how many were answered rightly, and their loss, of
// the model that the run began with, too, where it is compared (Promote). So
// the hub learns how good the model is, and not at which site. Where a Spec asks for
// privacy they are all 0 but for the rows of a site's weight, which is then 1 for all.
package fed
