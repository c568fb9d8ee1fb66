package atoll

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

// events follows a task: as server-sent events to its end, or as one page of JSON.
func (s *server) events(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	id, err := core.ParseTaskID(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, core.Errorf(core.Invalid, "%w", err).At("id"))
		return
	}
	accept := strings.Join(r.Header["Accept"], ",")
	if strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/event-stream") {
		s.eventPage(w, r, viewerOf(p), id)
		return
	}
	after, err := eventID(r.Header.Get("Last-Event-ID"), "Last-Event-ID")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.Method == http.MethodHead { // there is no end to wait for
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	s.eventStream(w, r, viewerOf(p), id, after)
}

func eventID(text, field string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, core.Errorf(core.Invalid, "%.40q is not the ID of an event", text).At(field)
	}
	return n, nil
}

func (s *server) eventPage(w http.ResponseWriter, r *http.Request, v Viewer, id core.TaskID) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.fail(w, r, core.Errorf(core.Invalid, "the query cannot be read"))
		return
	}
	limit := 100
	if t := q.Get("limit"); t != "" {
		if limit, err = strconv.Atoi(t); err != nil || limit < 1 || limit > maxPage {
			s.fail(w, r, core.Errorf(core.Invalid, "want 1 to %d", maxPage).At("limit"))
			return
		}
	}
	after, err := eventID(q.Get("cursor"), "cursor")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	rows, _, _, err := s.hub.Events(r.Context(), v, id, after)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	page := api.List[api.Event]{Object: "list", Data: rows}
	if len(rows) >= limit {
		page.Data = rows[:limit]
		page.Next = strconv.FormatInt(rows[limit-1].ID, 10)
	}
	w.Header()["Content-Type"] = jsonType
	_ = json.MarshalWrite(w, &page, wire) // fails only when the client has gone
}

// eventStream sends events as they happen and ends after the task's last. A
// client that comes back after that one gets 204, which tells an EventSource to
// stay away.
func (s *server) eventStream(w http.ResponseWriter, r *http.Request, v Viewer, id core.TaskID, after int64) {
	ctx := r.Context()
	rows, last, changed, err := s.hub.Events(ctx, v, id, after)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if last && len(rows) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header()["Content-Type"] = []string{"text/event-stream"}
	w.Header()["X-Accel-Buffering"] = []string{"no"} // proxies must not hold events back
	out := eventWriter{w: w, rc: http.NewResponseController(w), timeout: s.cfg.BodyTimeout}
	out.buf.WriteString("retry: 1000\n\n")
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		if err := out.send(rows); err != nil || last {
			return
		}
		if len(rows) > 0 {
			after = rows[len(rows)-1].ID
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			out.buf.WriteString(": still here\n\n")
			rows = nil
			continue
		case <-changed:
		}
		if rows, last, changed, err = s.hub.Events(ctx, v, id, after); err != nil {
			s.cfg.Log.WarnContext(ctx, "an event stream was cut short", "task", id, "err", err)
			return // the client resumes and is told why
		}
	}
}

type eventWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	buf     bytes.Buffer
}

// send writes events and whatever waits in buf, and sees them off.
func (e *eventWriter) send(rows []api.Event) error {
	for i := range rows {
		e.buf.WriteString("id: ")
		e.buf.WriteString(strconv.FormatInt(rows[i].ID, 10))
		e.buf.WriteString("\nevent: ")
		e.buf.WriteString(rows[i].Type)
		e.buf.WriteString("\ndata: ")
		if err := json.MarshalWrite(&e.buf, &rows[i], wire); err != nil {
			return err
		}
		e.buf.WriteString("\n\n")
	}
	if err := setDeadline(e.rc.SetWriteDeadline, e.timeout); err != nil {
		return err
	}
	defer e.buf.Reset()
	if _, err := e.w.Write(e.buf.Bytes()); err != nil {
		return err
	}
	if err := e.rc.Flush(); err != nil {
		return err
	}
	return setDeadline(e.rc.SetWriteDeadline, 0)
}
