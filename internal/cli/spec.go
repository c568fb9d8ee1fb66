package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
)

// readSpec makes the specification of flags or of a file.
func (s *session) readSpec(cmd *cobra.Command, f *submitFlags, c *client.Client) (*api.TaskSpec, error) {
	if f.specFile != "" {
		var wrong error
		for _, name := range changed(cmd) {
			if !reportingFlags[name] {
				wrong = usagef("--%s says what --spec says already; put it into the file", name)
			}
		}
		if wrong != nil {
			return nil, wrong
		}
		return s.loadSpec(f.specFile)
	}
	spec, err := f.spec()
	if err != nil {
		return nil, err
	}
	for _, in := range f.inputs {
		p, err := s.pointer(cmd.Context(), c, in)
		if err != nil {
			return nil, err
		}
		spec.Input = append(spec.Input, p)
	}
	if err := spec.Validate(); err != nil {
		return nil, wrongSpec(inFlags(err))
	}
	return spec, nil
}

// wrongSpec is a usage error with the hint that goes with it.
func wrongSpec(err error) error {
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		return usageError{err}
	}
	if e.Hint != "" {
		return usagef("%s (%s)", e.Error(), e.Hint)
	}
	return usageError{e}
}

// loadSpec reads a specification strictly: what is unknown is refused here, with
// the same words as by the hub.
func (s *session) loadSpec(path string) (*api.TaskSpec, error) {
	data, err := s.readFile(path, maxSpec)
	if err != nil {
		return nil, err
	}
	if path == "-" {
		path = "standard input"
	}
	body, err := yaml.YAMLToJSONStrict(data) // JSON is YAML
	if err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	spec, err := api.DecodeTaskSpec(body)
	if err == nil {
		err = spec.Validate()
	}
	if err != nil {
		return nil, usagef("%s: %w", path, wrongSpec(err))
	}
	return spec, nil
}

// pointer makes a data pointer of what --input names.
func (s *session) pointer(ctx context.Context, c *client.Client, in string) (api.DataPointer, error) {
	for _, scheme := range []string{"data:", "blob:", "https://", "http://", "s3://", "dataset://"} {
		if strings.HasPrefix(in, scheme) {
			return api.DataPointer{URI: in}, nil
		}
	}
	data, err := s.readFile(in, maxInput)
	if err != nil {
		return api.DataPointer{}, fmt.Errorf("--input: %w", err)
	}
	if len(data) <= inlineInput {
		return client.Inline(data), nil
	}
	b, err := c.PutBlob(ctx, data)
	if err != nil {
		return api.DataPointer{}, fmt.Errorf("upload %s: %w", in, err)
	}
	return client.Blob(b.Digest), nil
}

// maxInput is what a hub takes of one input.
const maxInput = 1 << 30

// readFile reads a file, or standard input for -.
func (s *session) readFile(path string, limit int64) ([]byte, error) {
	r := s.env.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %s", path, bytesOf(limit))
	}
	return data, err
}

// spec turns the flags, all but the input, into a specification.
func (f *submitFlags) spec() (*api.TaskSpec, error) {
	if f.model == "" || len(f.inputs) == 0 {
		return nil, usagef("a task needs --model and --input, or --spec")
	}
	spec := &api.TaskSpec{Model: f.model, Engine: f.engine, Residency: f.residency}
	if f.split != 0 {
		spec.Split = &api.Split{Lines: f.split}
	}
	if f.callback != "" {
		spec.Callback = &api.Callback{URL: f.callback}
	}
	if f.cpu != "" || f.memory != "" {
		spec.Resources = &api.Resources{CPU: f.cpu, Memory: f.memory}
	}
	if len(f.regions) > 0 || f.selector != "" {
		spec.Placement = &api.Placement{Regions: f.regions, Selector: f.selector}
	}
	if f.attempts != 0 {
		spec.Retry = &api.Retry{MaxAttempts: f.attempts}
	}
	if f.lostAfter != 0 {
		spec.Disconnect = &api.Disconnect{LostAfter: api.Duration(f.lostAfter)}
	}
	if f.queue != 0 || f.execution != 0 || f.total != 0 {
		spec.Timeout = &api.Timeout{Queue: api.Duration(f.queue), Execution: api.Duration(f.execution), Total: api.Duration(f.total)}
	}
	for _, set := range []func(*api.TaskSpec) error{f.setVerification, f.setBudget, f.setSLA, f.setParams} {
		if err := set(spec); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

// verifyForms are the methods of verification that take something after a colon.
const verifyForms = "quorum:REPLICAS:AGREE such as quorum:3:2, reexecute:RATE:SPAN such as reexecute:0.1 or reexecute:0.1:32, or logprobs:RATE such as logprobs:0.1"

func (f *submitFlags) setVerification(spec *api.TaskSpec) error {
	if f.verify == "" {
		return nil
	}
	method, rest, more := strings.Cut(f.verify, ":")
	v := &api.Verification{Method: method}
	spec.Verification = v
	if !more {
		return nil
	}
	first, second, both := strings.Cut(rest, ":")
	var err error
	switch method {
	case "reexecute":
		if v.Rate, err = strconv.ParseFloat(first, 64); err == nil && both {
			v.Span, err = strconv.Atoi(second)
		}
	case "logprobs":
		if v.Rate, err = strconv.ParseFloat(first, 64); both {
			err = strconv.ErrSyntax
		}
	case "quorum":
		if v.Replicas, err = strconv.Atoi(first); err == nil && both {
			v.Agree, err = strconv.Atoi(second)
		}
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return usagef("--verify %q: want none, %s", f.verify, verifyForms)
	}
	return nil
}

func (f *submitFlags) setBudget(spec *api.TaskSpec) error {
	if f.maxCost == "" {
		return nil
	}
	m, err := core.ParseMoney(f.maxCost)
	if err != nil {
		return usagef("--max-cost: %w", err)
	}
	spec.Budget = &api.Budget{MaxCost: m}
	return nil
}

func (f *submitFlags) setSLA(spec *api.TaskSpec) error {
	if f.latency == 0 && f.deadline == "" && f.minReliability == 0 && f.penalty == "" {
		return nil
	}
	spec.SLA = &api.SLA{Latency: api.Duration(f.latency), MinReliability: f.minReliability, Penalty: f.penalty}
	if f.deadline != "" {
		at, err := time.Parse(time.RFC3339, f.deadline)
		if err != nil {
			return usagef("--deadline %q: want a time such as 2026-12-01T00:00:00Z", f.deadline)
		}
		spec.SLA.Deadline = &at
	}
	return nil
}

func (f *submitFlags) setParams(spec *api.TaskSpec) error {
	for _, p := range f.params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return usagef("--param %q: want NAME=VALUE", p)
		}
		if spec.Params == nil {
			spec.Params = map[string]json.RawMessage{}
		}
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			text, err := json.Marshal(value)
			if err != nil {
				return usageError{err}
			}
			raw = text
		}
		spec.Params[name] = raw
	}
	return nil
}
