package quickstart

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/openaiwire"
)

// What several nodes do together.
const (
	togetherName   = "coral3"
	togetherStages = "3"
	togetherTokens = 160
	togetherBegun  = 60 // bytes of the text, after which a node is lost
	togetherAsks   = 20 // for a text in the middle of which a node can be lost
	togetherWithin = 20 * time.Second
)

// Together is a text that a language model has gone on with whose layers three nodes
// hold, of which one was lost in the middle.
type Together struct {
	Model   string      `json:"model"`
	Task    core.TaskID `json:"task"`
	Stages  []Stage     `json:"stages"`
	Prompt  string      `json:"prompt"`
	Before  string      `json:"before"` // the text that was there when the node was lost
	After   string      `json:"after"`  // what came then
	Alone   string      `json:"alone"`  // what one node by itself goes on with
	Tokens  int         `json:"tokens"`
	Lost    core.NodeID `json:"lost"`
	Spare   core.NodeID `json:"spare"` // that has taken its place
	Seconds float64     `json:"seconds"`
}

// Stage is a node's layers.
type Stage struct {
	Hand
	Layers [2]int `json:"layers"` // the first, and the one after the last
}

// together is the act in which three nodes hold one model, and one of them dies in the
// middle of a sentence.
func (r *rehearsal) together(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*togetherWithin, errors.New("the model was not served by several nodes in time"))
	defer cancel()
	if _, err := r.admin.PutService(ctx, togetherName, api.ServiceSpec{Model: r.out.Story.Model, Pipeline: togetherStages, Terms: api.Terms{Residency: residency}}); err != nil {
		return fmt.Errorf("serve the language model by several nodes: %w", err)
	}
	line, err := r.lineWhen(ctx, func(l *api.Line) bool { return l.State == "ready" })
	if err != nil {
		return err
	}
	t := &Together{Model: togetherName, Prompt: opening, Lost: line.Stages[1].Node}
	for _, s := range line.Stages {
		t.Stages = append(t.Stages, Stage{Hand{s.Node, s.Owner}, s.Layers})
	}
	r.out.Together = t
	if t.Alone, _, err = r.write(ctx, r.out.Story.Model, func(string) error { return nil }); err != nil {
		return err
	}
	var began time.Time
	var text string
	var task core.TaskID
	lost := false
	for ask := 0; !lost && ask < togetherAsks; ask++ {
		began = time.Now()
		text, task, err = r.write(ctx, togetherName, func(text string) error {
			// On a busy machine all may have come at once: then nobody dies in the middle.
			if lost || len(text) < togetherBegun || len(text) > len(t.Alone)*3/4 {
				return nil
			}
			lost, t.Before = true, text
			return r.session.Network.Kill(t.Lost)
		})
		if err != nil {
			return err
		}
	}
	t.Seconds, t.Task, t.Tokens, t.After = time.Since(began).Seconds(), task, togetherTokens, text[len(t.Before):]
	if !lost {
		return errors.New("the text came at once each time, and no node could be lost in the middle of it")
	}
	if line, err = r.lineWhen(ctx, func(l *api.Line) bool { return l.State == "ready" && l.Replays > 0 }); err != nil {
		return err
	}
	t.Spare = line.Stages[1].Node
	r.check("text_survives", text == t.Alone && t.Spare != t.Lost,
		fmt.Sprintf("%s died in mid-sentence; %s went on, bit for bit", t.Lost, t.Spare),
		cmp.Or(map[bool]string{true: "the text is another than one node gives: " + text}[text != t.Alone], "no node took its place"))
	return nil
}

// lineWhen waits for a state of the line.
func (r *rehearsal) lineWhen(ctx context.Context, want func(*api.Line) bool) (l *api.Line, err error) {
	err = r.until(ctx, func() (bool, error) {
		s, err := r.admin.Service(ctx, togetherName)
		if err != nil || s.Line == nil {
			return false, err
		}
		l = s.Line
		return want(l), nil
	})
	if err != nil && l != nil && l.Why != "" {
		err = fmt.Errorf("%w: %s", err, l.Why)
	}
	return l, err
}

// write has a model go on with the opening, and tells how the text grows.
func (r *rehearsal) write(ctx context.Context, model string, grown func(text string) error) (text string, task core.TaskID, err error) {
	body, err := json.Marshal(map[string]any{
		"model": model, "prompt": opening, "max_tokens": togetherTokens, "temperature": 0.7, "top_p": 0.9, "seed": r.cfg.Seed, "stream": true,
	})
	if err != nil {
		return "", 0, err
	}
	stream, err := r.user.Post(ctx, "/v1/completions", body)
	if err != nil {
		return "", 0, fmt.Errorf("ask %s: %w", model, err)
	}
	defer stream.Close()
	for event, err := range openaiwire.Events(stream) {
		if err != nil {
			return text, task, fmt.Errorf("answer of %s: %w", model, err)
		}
		var e struct {
			openaiwire.ErrorBody
			ID      core.TaskID `json:"id"`
			Choices []struct {
				Text string `json:"text"`
			} `json:"choices"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			return text, task, fmt.Errorf("answer of %s: %w", model, err)
		}
		if e.Error.Message != "" {
			return text, task, fmt.Errorf("answer of %s: %w", model, &e.Error)
		}
		task = e.ID
		for _, c := range e.Choices {
			text += c.Text
		}
		if err := grown(text); err != nil {
			return text, task, err
		}
	}
	return text, task, nil
}
