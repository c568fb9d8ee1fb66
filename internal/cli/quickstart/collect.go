package quickstart

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"atoll/client"
	"atoll/internal/core"
)

// sortNodes puts the nodes in the order of the cast.
func (r *rehearsal) sortNodes() {
	place := map[core.NodeID]int{}
	for i, n := range Nodes(0) {
		place[n.Name] = i + 1
	}
	slices.SortStableFunc(r.out.Nodes, func(a, b NodeRow) int { return cmp.Compare(place[a.Node], place[b.Node]) })
}

// readResult notes how the task ended and grades its answers.
func (r *rehearsal) readResult(ctx context.Context) error {
	t := &r.task
	o := r.out
	o.State, o.Reason, o.PartsDone = t.State, t.Reason, t.Parts.Succeeded
	o.Cost, o.Refunded = t.Cost.Paid, t.Cost.Refunded
	if t.EndedAt != nil {
		o.Seconds = t.EndedAt.Sub(t.CreatedAt).Seconds()
	}
	if t.State != "succeeded" {
		return nil
	}
	var b bytes.Buffer
	if err := r.user.Result(ctx, t.ID, &b); err != nil {
		return err
	}
	return r.work.grade(b.Bytes(), o)
}

// readLeases adds up who did what, and looks whether any lease left the EU.
func (r *rehearsal) readLeases(ctx context.Context) (err error) {
	if r.leases, err = client.Collect(r.user.Leases(ctx, r.task.ID)); err != nil {
		return err
	}
	rows := map[core.NodeID]*NodeRow{}
	for i := range r.out.Nodes {
		rows[r.out.Nodes[i].Node] = &r.out.Nodes[i]
	}
	for i := range r.leases {
		l := &r.leases[i]
		n := rows[l.Node]
		if n == nil {
			return fmt.Errorf("%s was given to %s, which is none of our nodes", l.ID, l.Node)
		}
		switch l.State {
		case "passed":
			n.OK++
			n.Paid += l.Pay
		case "rejected":
			n.Bad++
		case "lost":
			n.Moved++
		}
	}
	for _, c := range r.task.NotChosen {
		if n := rows[c.Node]; n != nil && !n.used() {
			n.NotChosen = c.Reason
		}
	}
	return nil
}

// readNodes notes what the nodes' reputation is now.
func (r *rehearsal) readNodes(ctx context.Context) error {
	for n, err := range r.admin.Nodes(ctx) {
		if err != nil {
			return err
		}
		for i := range r.out.Nodes {
			if row := &r.out.Nodes[i]; row.Node == n.ID {
				row.ReliabilityTo, row.State = n.Reliability, n.State
			}
		}
	}
	return nil
}

func (r *rehearsal) check(name string, ok bool, text string, detail string) {
	c := Check{Name: name, OK: ok, Text: text}
	if !ok {
		c.Detail = detail
	}
	r.out.Checks = append(r.out.Checks, c)
}

// audit compares the hub's own audit with what the requester's statement says.
func (r *rehearsal) audit(ctx context.Context) error {
	a, err := r.admin.Audit(ctx)
	if err != nil {
		return err
	}
	paid, twice, sum := map[core.LeaseID]bool{}, 0, core.Money(0)
	perPart := map[int]int{}
	part := map[core.LeaseID]int{}
	for i := range r.leases {
		part[r.leases[i].ID] = r.leases[i].Part
	}
	for t, err := range r.user.Statement(ctx, requester) {
		if err != nil {
			return err
		}
		if t.Kind != "post" || t.Task != r.task.ID {
			continue
		}
		if paid[t.Lease] {
			twice++
		}
		if perPart[part[t.Lease]]++; perPart[part[t.Lease]] > replicas {
			twice++
		}
		paid[t.Lease] = true
		sum += t.Amount
	}
	problems := strings.Join(a.Problems, "; ")
	r.check("charged_once", twice == 0 && a.DoubleCharged == 0, "no part charged twice", fmt.Sprintf("%d charges too many; %s", twice+int(a.DoubleCharged), problems))
	r.check("books_balance", a.OK && a.Debits == a.Credits && sum == r.out.Cost, "debits = credits",
		fmt.Sprintf("debits %s, credits %s, statement %s, task %s; %s", a.Debits, a.Credits, sum, r.out.Cost, problems))
	return nil
}
