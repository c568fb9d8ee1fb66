package cli

import (
	"errors"
	"regexp"
	"strings"

	"atoll/api"
	"atoll/internal/core"
)

// The hub speaks to every kind of client, and so of routes, headers and fields.
// At the command line the same things have other names.

// routeWords are the hub's hints, with what to do here in their place.
var routeWords = []struct {
	said *regexp.Regexp
	here string
}{
	{regexp.MustCompile(`GET /v1/keys lists them`), `list them with: atoll key list`},
	{regexp.MustCompile(`list models with GET /v1/models`), `list models with: atoll model list`},
	{regexp.MustCompile(`upload them first with POST /v1/blobs`), `name a file instead: "atoll submit --input FILE" and "atoll model push FILE" upload it`},
	{regexp.MustCompile(`upload large data with POST /v1/blobs and point to it`), `put the input into a file and name that with --input`},
	{regexp.MustCompile(`send the data inline or upload it with POST /v1/blobs`), `name a file with --input`},
	{regexp.MustCompile(`add credit with POST /v1/accounts/([a-z0-9-]+)/credit`), `add credit with: atoll account credit $1 AMOUNT`},
	{regexp.MustCompile(`ask for one part with \?part=N`), `ask for one part with --part N`},
	{regexp.MustCompile(`see why with GET /v1/tasks/([a-z0-9_]+)/events`), `see why with: atoll task get $1, atoll task events $1`},
	{regexp.MustCompile(`ask with \?part=N`), `ask with --part N`},
	{regexp.MustCompile(`follow GET /v1/tasks/\{id\}/events for longer`), `follow it for longer with: atoll task events TASK`},
	{regexp.MustCompile(`see GET /v1/tasks/\{id\}/result`), `see: atoll task result TASK`},
	{regexp.MustCompile(`send Authorization: Bearer atl_key_…`), `give --key or ATOLL_API_KEY, or choose a context that has a key: atoll context list`},
	{regexp.MustCompile(`the Idempotency-Key`), `the --idempotency-key`},
	{regexp.MustCompile(`an Idempotency-Key`), `an --idempotency-key`},
	{regexp.MustCompile(`^([a-z]+): query parameter: `), `--$1: `},
	{regexp.MustCompile(`wait as long as Retry-After says`), `wait a moment`},
}

// inVerbs says in this program's words what the hub has said in those of HTTP.
func inVerbs(text string) string {
	for _, w := range routeWords {
		text = w.said.ReplaceAllString(text, w.here)
	}
	return text
}

// fieldFlags are the fields of a task specification that flags of "atoll submit"
// set, longest first where one begins with another.
var fieldFlags = []struct{ field, flag string }{
	{"budget.max_cost", "--max-cost"},
	{"split.lines", "--split"},
	{"verification", "--verify"},
	{"residency", "--residency"},
	{"placement.regions", "--region"},
	{"placement.selector", "--selector"},
	{"resources.cpu", "--cpu"},
	{"resources.memory", "--memory"},
	{"timeout.queue", "--timeout-queue"},
	{"timeout.execution", "--timeout-execution"},
	{"timeout.total", "--timeout-total"},
	{"retry.max_attempts", "--attempts"},
	{"disconnect.lost_after", "--lost-after"},
	{"sla.latency", "--latency"},
	{"sla.penalty", "--penalty"},
	{"sla.deadline", "--deadline"},
	{"sla.min_reliability", "--min-reliability"},
	{"callback", "--callback"},
	{"params", "--param"},
	{"engine", "--engine"},
	{"input", "--input"},
	{"model", "--model"},
}

// flagHints are hints about the text of a specification, for those who wrote none.
var flagHints = strings.NewReplacer(
	`add "method": "quorum"`, `for example --verify quorum:3:2`,
	`add "engine": "wasm" or another`, `add --engine wasm or another`,
	`add sla.latency`, `add --latency`,
	`lower max_cost`, `lower --max-cost`,
)

// inFlags puts flags in the place of fields, in what the hub or its rules say of a
// specification that was made of flags.
func inFlags(err error) error {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		q := *p
		q.Field, q.Hint = flagOf(p.Field), flagHints.Replace(p.Hint)
		return &q
	}
	if e, ok := errors.AsType[*core.Error](err); ok {
		q := *e
		q.Field, q.Hint = flagOf(e.Field), flagHints.Replace(e.Hint)
		return &q
	}
	return err
}

// flagOf is the flag that sets a field, or the field itself where there is none.
func flagOf(field string) string {
	for _, f := range fieldFlags {
		if rest, ok := strings.CutPrefix(field, f.field); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return f.flag
		}
	}
	return field
}
