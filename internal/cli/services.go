package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/openaiwire"
)

// serveFlags say how a model is served.
type serveFlags struct {
	name, profile, template, pipeline string
	noWarmUp                          bool
	terms                             submitFlags
}

func (s *session) serveCmd() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "serve MODEL", Short: "Serve a language model to any OpenAI client", Args: cobra.ExactArgs(1),
		Long: `Give a model a name in the hub's OpenAI API, with terms for the requests that go
there and do not say otherwise. One short answer is asked for, so that the model is
loaded somewhere, and what that took is printed.

With --pipeline several nodes hold the model together, each some of its layers: as
many as you say, or as many as are fastest. The hub plans who holds what, from what
the nodes have measured, and shows it. Where nodes are left over that are near another,
they compute its layers together with it. The text is the one that a single node would
give; a node that fails in the middle of an answer is replaced, and the answer goes on.

Clients need the hub's address with /v1 behind it, an API key, and the name. Each
answer is an ordinary task with a receipt, paid by the account that asks.`,
		Example: `  atoll serve tiny
  atoll serve tiny@2 --name assistant --profile f32 --residency EU --verify quorum:3:2
  atoll serve tiny --pipeline 3 --name tiny3
  atoll serve tiny --pipeline auto --profile q8/8,16 --name thin
  atoll serve status tiny3
  atoll serve stop assistant`,
		RunE: func(cmd *cobra.Command, args []string) error { return s.serve(cmd.Context(), args[0], &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "`NAME` to serve it under (default: the model's)")
	fl.StringVar(&f.profile, "profile", "", "`PROFILE` of its arithmetic: q8 or f32; q8/8,16 sends int8 into layers 8 and 16, where alone nodes may meet then (default: q8)")
	fl.StringVar(&f.pipeline, "pipeline", "", "`NODES` that hold the model together: auto, or their number from 2 on (default: each node that answers holds it whole)")
	fl.StringVar(&f.template, "template", "", "`NAME` of a built-in chat template, such as chatml, for a model that has none")
	fl.StringVar(&f.terms.verify, "verify", "", "`METHOD`: none, quorum:REPLICAS:AGREE such as quorum:3:2, reexecute:RATE such as reexecute:0.1 (with --pipeline one stage is audited), or logprobs:RATE (default: none)")
	fl.StringVar(&f.terms.maxCost, "max-cost", "", "`CREDITS` that one request may cost at most, up to 1")
	fl.StringSliceVar(&f.terms.residency, "residency", nil, "`PLACES` that it may run in: countries (FR) or groups (EU, EEA)")
	fl.StringVar(&f.terms.selector, "selector", "", "`LABELS` that nodes must have, such as 'tier in (gold)'")
	fl.BoolVar(&f.noWarmUp, "no-warm-up", false, "ask for no answer")
	s.jsonFlag(cmd)
	cmd.AddCommand(s.serveStatusCmd(), s.serveStopCmd())
	return cmd
}

func (s *session) serveStatusCmd() *cobra.Command {
	cmd := s.verb("status [NAME]", "List what is served", "atoll serve status", cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		seq := c.Services(cmd.Context())
		if len(args) > 0 {
			one, err := c.Service(cmd.Context(), args[0])
			if err == nil && one.Line != nil && !s.asJSON {
				return s.showLine(&one)
			}
			seq = func(yield func(api.Service, error) bool) { yield(one, err) }
		}
		return showAll(s, seq, 0, "NAME MODEL NODES VERIFICATION RESIDENCY PARAMS OWNER SINCE", func(v api.Service) []string {
			method := "none"
			if v.Verification != nil {
				method = v.Verification.Method
			}
			nodes := "each"
			if v.Line != nil {
				nodes = lineState(v.Line)
			}
			params := ""
			if len(v.Params) > 0 {
				b, _ := json.Marshal(v.Params) // came as JSON
				params = string(b)
			}
			return []string{v.Name, v.Model, nodes, method, strings.Join(v.Residency, ","), params, string(v.Owner), clock(v.CreatedAt)}
		})
	})
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) serveStopCmd() *cobra.Command {
	return s.verb("stop NAME", "Stop serving under a name; the model stays", "atoll serve stop assistant", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		return c.DeleteService(cmd.Context(), args[0])
	})
}

// serving is what serve prints with --json.
type serving struct {
	Service api.Service `json:"service"`
	WarmUp  *warmUp     `json:"warm_up,omitempty"`
	URL     string      `json:"url"` // base URL for OpenAI clients
}

// warmUp is what one short answer took.
type warmUp struct {
	Task      core.TaskID   `json:"task"`
	Nodes     []core.NodeID `json:"nodes"`
	FirstMs   int64         `json:"first_token_ms"` // loading the model is in it, if it was not loaded
	AgainMs   int64         `json:"first_token_again_ms"`
	PerSecond float64       `json:"tokens_per_second"` // of the second answer, from question to end
	Text      string        `json:"text"`
	Chat      bool          `json:"chat"` // the model has a chat template
}

func (s *session) serve(ctx context.Context, model string, f *serveFlags) error {
	spec, err := f.spec(model)
	if err != nil {
		return err
	}
	name := f.name
	if name == "" {
		name, _, _ = strings.Cut(model, "@")
	}
	if err := core.CheckName("service", name); err != nil {
		return usagef("%w; give one with --name", err)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	out := serving{URL: c.URL() + "/v1"}
	if out.Service, err = c.PutService(ctx, name, spec); err != nil {
		return err
	}
	if out.Service.Pipeline != "" {
		if out.Service, err = s.seated(ctx, c, name); err != nil {
			return err
		}
	}
	if !f.noWarmUp {
		s.hint("%s is served; one short answer is asked for, so that a node loads it …", name)
		if out.WarmUp, err = warm(ctx, c, name); err != nil {
			return fmt.Errorf("%s is served, but gave no answer: %w", name, err)
		}
	}
	if s.asJSON {
		return s.printJSON(out)
	}
	return s.printServing(&out)
}

// spec is the service that the flags ask for.
func (f *serveFlags) spec(model string) (api.ServiceSpec, error) {
	for _, p := range [...][2]string{{"profile", f.profile}, {"template", f.template}} {
		if p[1] != "" {
			f.terms.params = append(f.terms.params, p[0]+"="+p[1])
		}
	}
	f.terms.model, f.terms.inputs = model, []string{"-"}
	task, err := f.terms.spec()
	if err != nil {
		return api.ServiceSpec{}, err
	}
	spec := api.ServiceSpec{Model: model, Pipeline: f.pipeline, Terms: task.Terms()}
	if err := spec.Validate(); err != nil {
		return spec, wrongSpec(inFlags(err))
	}
	return spec, nil
}

// warm asks for a short answer twice: the first time the model may have to be
// loaded.
func warm(ctx context.Context, c *client.Client, name string) (*warmUp, error) {
	began, path := time.Now(), chatPath
	cold, err := ask(ctx, c, path, name)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusBadRequest { // it holds no conversations
		path = textPath
		cold, err = ask(ctx, c, path, name)
	}
	if err != nil {
		return nil, err
	}
	loaded := time.Since(began) - cold.whole + cold.first // a refusal may have loaded it
	again, err := ask(ctx, c, path, name)
	if err != nil {
		return nil, err
	}
	w := &warmUp{Task: again.task, Chat: path == chatPath, FirstMs: loaded.Milliseconds(), AgainMs: again.first.Milliseconds(), Text: again.text}
	if again.whole > 0 {
		w.PerSecond = float64(again.tokens) / again.whole.Seconds()
	}
	leases, err := client.Collect(c.Leases(ctx, again.task))
	for _, l := range leases {
		w.Nodes = append(w.Nodes, l.Node)
	}
	return w, err
}

// asked is one answer and its times.
type asked struct {
	task         core.TaskID
	first, whole time.Duration
	tokens       int64
	text         string
}

const (
	chatPath = "/v1/chat/completions"
	textPath = "/v1/completions"
)

func ask(ctx context.Context, c *client.Client, path, name string) (a asked, err error) {
	request := map[string]any{"model": name, "max_tokens": 48, "temperature": 0, "stream": true, "stream_options": map[string]bool{"include_usage": true}}
	if path == chatPath {
		request["messages"] = []map[string]string{{"role": "user", "content": "Hello"}}
	} else {
		request["prompt"] = "Once upon a time"
	}
	body, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	began := time.Now()
	stream, err := c.Post(ctx, path, body)
	if err != nil {
		return a, err
	}
	defer stream.Close()
	for event, err := range openaiwire.Events(stream) {
		if err != nil {
			return a, err
		}
		var t struct {
			openaiwire.ErrorBody
			ID      core.TaskID `json:"id"`
			Choices []struct {
				Text  string `json:"text"`
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
			Usage *openaiwire.Usage `json:"usage"`
		}
		if err := json.Unmarshal(event, &t); err != nil {
			return a, fmt.Errorf("not an event of the OpenAI API: %w", err)
		}
		if t.Error.Message != "" {
			return a, &t.Error
		}
		a.task, a.whole = t.ID, time.Since(began)
		if a.first == 0 {
			a.first = a.whole
		}
		for _, choice := range t.Choices {
			a.text += choice.Text + choice.Delta.Content
		}
		if t.Usage != nil {
			a.tokens = t.Usage.CompletionTokens
		}
	}
	if a.task == 0 {
		return a, errors.New("the stream was empty")
	}
	return a, nil
}

func (s *session) printServing(out *serving) error {
	v := &out.Service
	fmt.Fprintf(s.out, "%s serves %s\n", v.Name, v.Model)
	if v.Line != nil {
		if err := s.showLine(v); err != nil {
			return err
		}
	}
	if w := out.WarmUp; w != nil {
		nodes := make([]string, len(w.Nodes))
		for i, n := range w.Nodes {
			nodes[i] = string(n)
		}
		fmt.Fprintf(s.out, "  runs on        %s (%s)\n", strings.Join(nodes, ", "), w.Task)
		fmt.Fprintf(s.out, "  first token    %d ms, with loading; %d ms now\n", w.FirstMs, w.AgainMs)
		fmt.Fprintf(s.out, "  speed          %.0f tokens/s, from question to end\n", w.PerSecond)
	}
	fmt.Fprintf(s.out, "  OpenAI clients base URL %s, model %q\n\n", out.URL, v.Name)
	path, say := textPath, `"prompt":"Once upon a time"`
	if w := out.WarmUp; w == nil || w.Chat {
		path, say = chatPath, `"messages":[{"role":"user","content":"Hello"}]`
	}
	fmt.Fprintf(s.out, "curl %s%s -H \"Authorization: Bearer $ATOLL_API_KEY\" \\\n", strings.TrimSuffix(out.URL, "/v1"), path)
	fmt.Fprintf(s.out, "  -H \"Content-Type: application/json\" -d '{\"model\":%q,%s,\"max_tokens\":64,\"stream\":true}'\n", v.Name, say)
	return nil
}
