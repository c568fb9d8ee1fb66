package atoll

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"atoll/api"
	"atoll/internal/auth"
	"atoll/internal/core"
)

type (
	// TaskPath is embedded in the inputs of a task's routes.
	TaskPath struct {
		ID param[core.TaskID] `path:"id" doc:"task_…"`
	}

	taskListInput struct {
		TaskPath
		Paging
	}

	tasksInput struct {
		Paging
		State string `query:"state" enum:"queued,placing,running,verifying,succeeded,failed,cancelled,expired" doc:"only tasks in this state"`
	}

	eventsInput struct {
		TaskPath
		Paging
		LastEventID int64 `header:"Last-Event-ID" minimum:"0" doc:"resume after this event; cursor and limit are for pages of JSON"`
	}

	resultInput struct {
		TaskPath
		Part int `query:"part" minimum:"0" doc:"only this part's result, also of a task that goes on"`
	}
)

func (s *server) addTasks() {
	const tag = "tasks"
	addRaw[submitInput, submitOutput](s, route{method: "POST", path: "/v1/submit-task", id: "submit-task", tag: tag, scope: auth.Requester, status: http.StatusAccepted,
		summary: "Submit a task", about: "202 when the task is durable and its budget held; with wait, 200 when it has ended.", serve: s.submit})
	add(s, route{method: "GET", path: "/v1/tasks", id: "list-tasks", tag: tag, scope: auth.Read, summary: "List tasks, newest first"},
		func(ctx context.Context, in *tasksInput) (*list[api.Task], error) {
			return listOf(s.hub.Tasks(ctx, viewer(ctx), in.State, in.page()))
		})
	add(s, route{method: "GET", path: "/v1/tasks/{id}", id: "get-task", tag: tag, scope: auth.Read, summary: "Get a task"},
		func(ctx context.Context, in *TaskPath) (*reply[api.Task], error) {
			return replyOf(s.hub.Task(ctx, viewer(ctx), in.ID.Value))
		})
	add(s, route{method: "DELETE", path: "/v1/tasks/{id}", id: "cancel-task", tag: tag, scope: auth.Requester, summary: "Cancel a task", about: "A task that has ended stays as it is."},
		func(ctx context.Context, in *TaskPath) (*reply[api.Task], error) {
			return replyOf(s.hub.Cancel(ctx, viewer(ctx), in.ID.Value))
		})
	add(s, route{method: "GET", path: "/v1/tasks/{id}/parts", id: "list-parts", tag: tag, scope: auth.Read, summary: "List a task's parts"},
		func(ctx context.Context, in *taskListInput) (*list[api.Part], error) {
			return listOf(s.hub.Parts(ctx, viewer(ctx), in.ID.Value, in.page()))
		})
	add(s, route{method: "GET", path: "/v1/tasks/{id}/leases", id: "list-leases", tag: tag, scope: auth.Read, summary: "List a task's leases",
		about: "A page holds the leases of limit parts. Results and verdicts show once all replicas of a part have reported or expired."},
		func(ctx context.Context, in *taskListInput) (*list[api.Lease], error) {
			return listOf(s.hub.Leases(ctx, viewer(ctx), in.ID.Value, in.page()))
		})
	add(s, route{method: "GET", path: "/v1/tasks/{id}/receipts", id: "list-receipts", tag: tag, scope: auth.Read, summary: "List a task's receipts"},
		func(ctx context.Context, in *taskListInput) (*list[api.ReceiptRef], error) {
			return listOf(s.hub.Receipts(ctx, viewer(ctx), in.ID.Value, in.page()))
		})
	addRaw[eventsInput, list[api.Event]](s, route{method: "GET", path: "/v1/tasks/{id}/events", id: "list-events", tag: tag, scope: auth.Read, summary: "Follow a task's events",
		about: "Server-sent events that end with the task's last; 204 when nothing comes after Last-Event-ID. With Accept: application/json, a page of what there is.",
		serve: s.events})
	addRaw[resultInput, reply[[]byte]](s, route{method: "GET", path: "/v1/tasks/{id}/result", id: "get-result", tag: tag, scope: auth.Read, summary: "Get a task's result",
		about: "The results of all parts in order. A connection that is cut means that the result is not whole.", produces: "application/octet-stream", serve: s.result})
	s.documentAnswers()
}

// documentAnswers adds what the types of submit and events cannot say: that they
// answer in more than one way.
func (s *server) documentAnswers() {
	paths := s.doc.OpenAPI().Paths
	submit := paths["/v1/submit-task"].Post.Responses
	submit["200"] = &huma.Response{Description: "The task has ended", Headers: submit["202"].Headers, Content: submit["202"].Content}
	events := paths["/v1/tasks/{id}/events"].Get.Responses
	events["200"].Content["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	events["204"] = &huma.Response{Description: "No event will come after Last-Event-ID"}
}

func (s *server) result(w http.ResponseWriter, r *http.Request, p *auth.Principal) {
	id, err := core.ParseTaskID(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, core.Errorf(core.Invalid, "%w", err).At("id"))
		return
	}
	part, one, err := partOf(r.URL.RawQuery)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !one {
		s.streamTo(w, r, func(st *Stream) error { return s.hub.Result(r.Context(), viewerOf(p), id, st) })
		return
	}
	s.streamTo(w, r, func(st *Stream) error { return s.hub.PartResult(r.Context(), viewerOf(p), id, part, st) })
}

// partOf reads ?part=N.
func partOf(query string) (part int, given bool, err error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return 0, false, core.Errorf(core.Invalid, "the query cannot be read")
	}
	for k := range q {
		if k != "part" {
			return 0, false, core.Errorf(core.Invalid, "there is no such query parameter").At(core.Clip(k, 100)).WithHint("result knows part")
		}
	}
	if !q.Has("part") {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(q.Get("part"), 10, 31)
	if err != nil {
		return 0, false, core.Errorf(core.Invalid, "want a part's number, from 0").At("part")
	}
	return int(n), true, nil
}
