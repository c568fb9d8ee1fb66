package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// seated waits until the nodes of a service's line hold its layers, and tells what
// keeps it.
func (s *session) seated(ctx context.Context, c *client.Client, name string) (api.Service, error) {
	said := ""
	for {
		v, err := c.Service(ctx, name)
		if err != nil || v.Line == nil || v.Line.State == "ready" || v.Line.State == "alone" {
			return v, err
		}
		now := v.Line.State
		if v.Line.Why != "" {
			now += ": " + v.Line.Why
		} else if len(v.Line.Stages) > 0 {
			now += ": " + strings.Join(stageNodes(v.Line), ", ") + " load their layers"
		}
		if now != said {
			fmt.Fprintf(s.err, "%s is not ready yet, %s …\n", name, now)
			said = now
		}
		select {
		case <-ctx.Done():
			return v, fmt.Errorf("%s goes on being prepared; see atoll serve status %s: %w", name, name, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func stageNodes(l *api.Line) (out []string) {
	for _, st := range l.Stages {
		out = append(out, string(st.Node))
	}
	return out
}

// showLine prints who holds what of a service's model.
func (s *session) showLine(v *api.Service) error {
	l := v.Line
	fmt.Fprintf(s.out, "%s: %s, %s", v.Name, v.Model, lineState(l))
	if l.Why != "" {
		fmt.Fprintf(s.out, ": %s", l.Why)
	}
	fmt.Fprintln(s.out)
	if len(l.Stages) > 0 {
		var rows [][]string
		for i, st := range l.Stages {
			does := ""
			switch i {
			case 0:
				does = "the head: takes requests"
			case len(l.Stages) - 1:
				does = "draws the tokens"
			}
			if len(st.With) > 0 {
				does = strings.TrimPrefix(does+", together with "+names(st.With), ", ")
			}
			rows = append(rows, []string{string(st.Node), string(st.Owner), layers(st.Layers), next(&st), does})
		}
		if err := s.out.Table("NODE OWNER LAYERS NEXT DOES", rows); err != nil {
			return err
		}
	}
	if len(l.Spares) > 0 {
		fmt.Fprintf(s.out, "spares     %s: take the place of one that fails\n", names(l.Spares))
	}
	for _, n := range l.Left {
		fmt.Fprintf(s.out, "left out   %s: %s\n", n.Node, n.Reason)
	}
	if l.Planned > 0 {
		fmt.Fprintf(s.out, "planned    %.0f tokens/s for one answer, for %s a request\n", l.Planned, l.Price)
	}
	if l.State == "ready" {
		fmt.Fprintf(s.out, "now        %.1f tokens/s, %d answers under way, %d tokens so far, %d bytes between nodes for each, %d replays\n", l.PerSecond, l.Answering, l.Tokens, l.RowBytes, l.Replays)
	}
	return nil
}

// next is what the way to the next stage is like.
func next(st *api.LineStage) string {
	if st.RTTMs == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.2f ms, %.0f Mbit/s", st.RTTMs, st.Mbit)
}

func lineState(l *api.Line) string {
	if n := len(l.Stages); n > 0 {
		return fmt.Sprintf("%s, on %d nodes", l.State, n)
	}
	return l.State
}

// layers writes a range as its first and last.
func layers(r [2]int) string {
	if r[1]-r[0] == 1 {
		return fmt.Sprint(r[0])
	}
	return fmt.Sprintf("%d-%d", r[0], r[1]-1)
}

func names(ids []core.NodeID) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return strings.Join(out, ", ")
}
