package quickstart

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/llm/coral"
)

// What the language model is asked.
const (
	opening      = "It was a fine morning, and the whole party"
	mostTokens   = 48
	storyBudget  = core.Credit / 5
	storyTimeout = 20 * time.Second
)

// Story is a text that a language model on one node has gone on with, and that
// another owner's node has computed again.
type Story struct {
	Task    core.TaskID `json:"task"`
	Model   string      `json:"model"`
	Prompt  string      `json:"prompt"`
	Text    string      `json:"text"`  // what came after the prompt
	Ended   bool        `json:"ended"` // by the model; otherwise there was no room for more
	Tokens  int         `json:"tokens"`
	Seconds float64     `json:"seconds"` // from submit to verified answer
	Cost    core.Money  `json:"cost"`
	Writer  Hand        `json:"writer"`
	Checker Hand        `json:"checker"` // whose receipt is for the same bytes
}

// Hand is a node and whose it is.
type Hand struct {
	Node  core.NodeID    `json:"node"`
	Owner core.AccountID `json:"owner"`
}

// tell is the last act: tokens are drawn at random, and yet another owner's
// machine draws the very same ones.
func (r *rehearsal) tell(ctx context.Context) error {
	file := coral.Open()
	blob, err := r.user.PutFile(ctx, file, file.Size())
	if err != nil {
		return fmt.Errorf("upload the language model: %w", err)
	}
	m, err := r.user.RegisterModel(ctx, client.NewModel{Name: coral.Name, Engine: coral.Engine, Digest: blob.Digest, Description: coral.Description})
	if err != nil {
		return fmt.Errorf("register the language model: %w", err)
	}
	input, err := json.Marshal(map[string]any{
		"prompt": opening, "max_tokens": mostTokens, "temperature": 0.7, "top_p": 0.9, "seed": r.cfg.Seed,
	})
	if err != nil {
		return err
	}
	reply, err := r.user.Submit(ctx, &api.TaskSpec{
		Model: m.ID, Input: []api.DataPointer{client.Inline(input)}, Residency: residency,
		Verification: &api.Verification{Method: "reexecute", Rate: 1},
		Budget:       &api.Budget{MaxCost: storyBudget},
	}, client.SubmitOptions{Wait: storyTimeout})
	if err != nil {
		return fmt.Errorf("submit to the language model: %w", err)
	}
	r.out.Story = &Story{Task: reply.ID, Model: m.ID, Prompt: opening, Cost: reply.Cost.Paid + reply.Cost.Pending}
	if reply.State != "succeeded" || reply.EndedAt == nil {
		r.check("story_recomputed", false, "a story was written and computed again", fmt.Sprintf("%s: %s", reply.State, reply.Reason))
		return nil
	}
	r.out.Story.Seconds = reply.EndedAt.Sub(reply.CreatedAt).Seconds()
	return r.readStory(ctx, r.out.Story)
}

// readStory takes the answer apart and checks, by their receipts, who computed it.
func (r *rehearsal) readStory(ctx context.Context, s *Story) error {
	p, refs, err := r.gather(ctx, s.Task)
	if err != nil {
		return err
	}
	data, err := r.partResult(ctx, p, 0)
	if err != nil {
		return err
	}
	var answer struct {
		Text   string `json:"text"`
		Reason string `json:"finish_reason"`
		Usage  struct {
			Tokens int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("the language model's answer: %w", err)
	}
	s.Text, s.Tokens, s.Ended = answer.Text, answer.Usage.Tokens, answer.Reason == "stop"
	var wrong []error
	for _, ref := range refs {
		if _, err := r.proveExecution(ctx, p, ref); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", ref.Lease, err))
		}
	}
	leases, err := client.Collect(r.user.Leases(ctx, s.Task))
	if err != nil {
		return err
	}
	leases = slices.DeleteFunc(leases, func(l api.Lease) bool { return l.State != "passed" })
	slices.SortFunc(leases, func(a, b api.Lease) int { return a.OfferedAt.Compare(b.OfferedAt) })
	if len(leases) >= 2 {
		s.Writer, s.Checker = Hand{leases[0].Node, leases[0].Owner}, Hand{leases[1].Node, leases[1].Owner}
	}
	r.check("story_recomputed", len(wrong) == 0 && s.Tokens > 0 && s.Writer.Owner != s.Checker.Owner,
		fmt.Sprintf("%s drew these %d tokens; %s drew the same", s.Writer.Node, s.Tokens, s.Checker.Node),
		cmp.Or(listed(wrong), "no other owner computed them again"))
	return nil
}
