package control

import (
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/bus"
	"atoll/internal/request"
)

// A node that never stops talking is not listened to for long: neither hub nor
// clients have to do with more than so much of it. Its reports are, and so is
// another node.
func TestNodesThatNeverStopTalking(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loud := w.join("a-1", "alice", "FR", 10_000)
	spec := &api.TaskSpec{Model: "echo", Input: []api.DataPointer{{URI: "data:,x"}}}
	full := spec.WithDefaults()
	task, err := w.hub.Submit(t.Context(), request.Submission{Account: "demo", Spec: &full, Preview: true})
	if err != nil {
		t.Fatal(err)
	}
	lease := w.leases(loud.id)[0]
	quiet := w.join("b-1", "bob", "FR", 20_000) // too late for the lease, which the market may give to anybody
	tell := func(offset int) {
		w.say(loud, bus.KindProgress, bus.Progress{Pieces: []bus.Piece{{Lease: lease.ID, Offset: offset, Data: []byte("x")}}})
	}
	told := func() int {
		more, _ := w.hub.Preview(request.Viewer{Account: "demo"}, task.ID, 0)
		return len(more)
	}
	const most = heardBytes / heardLeast
	for i := range 2 * most {
		tell(i)
	}
	if n := told(); n == 0 || n > most {
		t.Errorf("%d of %d messages in no time were taken, want at most %d", n, 2*most, most)
	}
	w.pass(250 * time.Millisecond)
	before := told()
	if tell(before); told() != before+1 {
		t.Error("a node that was too loud is never heard again")
	}
	w.beat(quiet)
	if seen := w.hub.nodes[quiet.id].seenMs; seen != w.now.UnixMilli() {
		t.Error("another node is not heard")
	}
	for range most {
		w.say(loud, bus.KindHeartbeat, "nonsense")
	}
	w.report(loud, lease, "x", nil)
	if got := w.task(task.ID); got.State != "succeeded" {
		t.Errorf("the report of a node that was too loud was not taken: %s", got.State)
	}
}
