// Package shard runs one language model on several machines. Each holds a stage, a
// contiguous range of layers; hidden states go from stage to stage, and the last
// draws the tokens.
//
//	       rows            rows            rows
//	head ───────> stage 1 ──────> stage 2 ──────> … last
//	 ^  layers 0…                                   │
//	 └──────────────────── drawn ───────────────────┘
//
// The head holds the first layers and knows prompts and texts. All stages together
// are a line. Whatever range a stage has, whatever is computed together and however
// often stages are replaced, the text is the one that the whole model would have
// drawn by itself, bit for bit: internal/repro sees to that.
//
// # A line is a chain of logs
//
// For each sequence every stage has a log: the rows, one for each position, that it
// has computed. It is append-only, and what stands in it depends on the model, the
// prompt, the seed and the position alone. A link between two stages does nothing
// but bring the receiver's copy up to date, so there is one way to recover from
// anything: the receiver says how far it is (have), and the sender goes on from
// there. A stage that has just taken another's place is nowhere, and is sent
// everything; it computes that as one long prompt, which gives the same bits. Rows
// that a stage has already it drops.
//
// So losing a stage costs the time that its layers take for the sequences so far,
// and losing messages costs nothing but sending them again. Spares load the layers of
// a place while the line runs, so that nobody waits for that.
//
// # Groups
//
// A sequence's next position can be computed when its last token is back at the head.
// The head lets sequences go round in groups: while one group is at the second stage
// or on its way, the first stage computes another. How many groups are best nobody
// can know beforehand, so it is found by trying; see groups. Prompts go in pieces of
// StageConfig.Batch positions, one behind the other, and wait for nobody.
//
// # Teams
//
// On links that are fast beside a layer, several nodes can compute the same layers
// together: a team, of which one, the leader, has the place in the line, and the others
// follow it. Each computes some outputs of every product, see llm.Share, and four times a
// layer all parts go through the leader to all. Nothing is ever added up across nodes, so
// the text is still the same, bit for bit. Nobody else in the line knows: the leader keeps
// the logs and answers for them. A follower has but keys and values of its heads, in the
// pages that the leader says. If it fails, lies in form or stands still, the stage ends as
// a whole, and who takes the place computes the layers alone. A step at which some
// member's numbers go out of range is given up by all; the next goes on. The head leads no
// team, since nobody could take its place.
//
// # What a stage holds
//
// A stage takes a sequence only if it has pages for its whole length, and rows only up
// to that length: rows that wait and rows that are kept for who comes behind are at
// most as many as its pages have positions, however fast who is before may be. Beside
// them are at most maxSequences sequences and maxOpenings bytes of what they ask for,
// and one message for each stream. Whoever sends more than it may loses its stream.
//
// # Epochs
//
// The head alone decides who is in the line. When it replaces a stage it raises the
// line's epoch and tells every stage who is before and behind it now. A stream is
// of one epoch; what comes on a stream of an older one is refused.
//
// # Accounts
//
// When an answer ends, the head asks every stage to account for it: to sign hash chains
// over what went in and out of it, see package record. Neighbours' chains must fit, and
// the last one's the answer; package audit says so of a result. A stage keeps the rows
// that it has sent for a while after a sequence has ended, so that whoever has the hub's
// ticket can compute the stage behind it again: Recompute does, with the very code that
// stages run.
//
// # Format
//
// Four protocols of peer streams. On ProtocolOrders and ProtocolAudit one side asks and
// the other answers in JSON, each message behind its length in bytes (uint32): see order,
// report and RowsRequest; rows follow the answer of ProtocolAudit. ProtocolRows is as
// follows.
//
// Numbers are little-endian. A message is its length in bytes without these four
// (uint32), its kind (uint8), and its fields:
//
//	hello 1  version u8, line [16]u8, epoch u32, stage u16     begins a stream; the receiver's place
//	have  2  n u32, n × (sequence u32, positions u32)          the answer
//	open  3  sequence u32, prompt u32, limit u32, then JSON    a sequence begins; see Opening
//	rows  4  n u16, n × (sequence u32, first u32, count u32), then count rows each, see llm.RowForm
//	end   5  sequence u32                                      it is over: its log goes
//	drawn 6  n u16, n × (sequence u32, position u32, token i32, logprob f32, top u8, top × (token i32, logprob f32))
//	fail  7  sequence u32, UTF-8                               why a sequence cannot go on
//
// rows of a sequence follow one another without a gap: first is where the rows before
// ended. A message that is anything else ends its stream, and nothing beside it.
//
// On ProtocolTeam the leader asks with a Seat and the follower answers with a report, in
// JSON as above. Then messages, framed as those of ProtocolRows, are:
//
//	step  1  step u32, n u16, n × (first u32, count u32), then all their pages, u32 each, then all rows, f32
//	part  2  step u32, gathering u32, member u8, then what it has computed; see llm.Gatherer
//	quit  3  step u32, UTF-8          it cannot be computed, and why
//
// Steps and a step's gatherings count from 1. A part comes when it is due and has the size
// that is due, and nothing else is read. Who quits a step says so once, and the other says
// so too, unless it has: then nothing more comes of that step.
package shard
