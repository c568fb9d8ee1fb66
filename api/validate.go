package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"atoll/internal/core"
	"atoll/internal/policy"
)

// Validate checks everything that can be known without the hub: forms, bounds,
// and fields that contradict each other. What the format knows but no hub can do
// yet is refused with core.Unsupported, never ignored. The first problem found
// is returned, as a core.Error that names its field.
func (s *TaskSpec) Validate() error {
	for _, check := range [...]func(*TaskSpec) error{
		(*TaskSpec).checkModel, (*TaskSpec).checkInput, (*TaskSpec).checkOutput, (*TaskSpec).checkParams,
		(*TaskSpec).checkResources, (*TaskSpec).checkPlacement, (*TaskSpec).checkSLA, (*TaskSpec).checkTimes,
		(*TaskSpec).checkVerification, (*TaskSpec).checkMoney, (*TaskSpec).checkCallback,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

func invalid(field, format string, args ...any) *core.Error {
	return core.Errorf(core.Invalid, format, args...).At(field)
}

// at names the field that another package's error is about.
func at(err error, field string) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e.At(field)
	}
	return invalid(field, "%w", err)
}

func unsupported(field, what, hint string) error {
	return core.Errorf(core.Unsupported, "%s is not supported yet", what).At(field).WithHint(hint)
}

func (s *TaskSpec) checkModel() error {
	if s.Engine != "" {
		if err := core.CheckName("engine", s.Engine); err != nil {
			return invalid("engine", "%w", err)
		}
	}
	pointer := strings.Contains(s.Model, ":")
	switch {
	case s.Model == "":
		return invalid("model", "a task needs a model").WithHint("list models with GET /v1/models")
	case pointer && s.Engine == "":
		return invalid("engine", "a model given as a digest or data pointer needs its engine named").WithHint(`add "engine": "wasm" or another`)
	case strings.HasPrefix(s.Model, "sha256:"):
		if _, err := core.ParseDigest(s.Model); err != nil {
			return invalid("model", "%w", err)
		}
		return nil
	case pointer:
		return checkPointer("model", s.Model)
	}
	name, version, versioned := strings.Cut(s.Model, "@")
	if err := core.CheckName("model", name); err != nil {
		return invalid("model", "%w", err).WithHint("write name@version, name, sha256:…, or a data pointer")
	}
	if n, err := strconv.ParseInt(version, 10, 32); versioned && (err != nil || n < 1 || strconv.FormatInt(n, 10) != version) {
		return invalid("model", "version %.40q: want a whole number from 1", version)
	}
	return nil
}

func (s *TaskSpec) checkInput() error {
	if len(s.Input) == 0 {
		return invalid("input", "a task needs at least one input").WithHint(`for example [{"uri": "data:;base64,aGVsbG8="}]`)
	}
	if len(s.Input) > MaxInputs {
		return invalid("input", "%d inputs, at most %d", len(s.Input), MaxInputs).WithHint("join them, or submit several tasks")
	}
	for i := range s.Input {
		if err := checkPointer("input["+strconv.Itoa(i)+"].uri", s.Input[i].URI); err != nil {
			return err
		}
	}
	if s.Split != nil && s.Split.Lines < 1 {
		return invalid("split.lines", "%d lines: want at least 1", s.Split.Lines)
	}
	return nil
}

// checkPointer checks a data pointer's scheme and form. Whether the hub may
// fetch from where it points is the hub's to say.
func checkPointer(field, uri string) error {
	scheme, rest, ok := strings.Cut(uri, ":")
	const hint = "use data:…;base64,…, blob:sha256:… or https://…"
	switch {
	case !ok:
		return invalid(field, "%.80q is not a data pointer", uri).WithHint(hint)
	case scheme == "data":
		if !strings.Contains(rest, ",") {
			return invalid(field, "a data: pointer has a comma before its data").WithHint(hint)
		}
		return nil
	case len(uri) > maxURL:
		return invalid(field, "the pointer has %d bytes, at most %d", len(uri), maxURL)
	case scheme == "blob":
		if _, err := core.ParseDigest(rest); err != nil {
			return invalid(field, "%w", err)
		}
		return nil
	case scheme == "https" || scheme == "http":
		return checkURL(field, uri)
	case scheme == "s3" || scheme == "gs" || scheme == "azblob" || scheme == "dataset":
		return unsupported(field, scheme+"://", hint)
	}
	return invalid(field, "scheme %.40q is not one of data, blob, https", scheme).WithHint(hint)
}

func checkURL(field, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's own words may quote credentials.
		return invalid(field, "not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid(field, "want an https URL")
	case u.Hostname() == "":
		return invalid(field, "the URL names no host")
	case u.User != nil:
		return invalid(field, "the URL holds credentials, which would be stored and logged").WithHint("use a signed URL")
	}
	return nil
}

func (s *TaskSpec) checkOutput() error {
	if s.Output != "" {
		return unsupported("output", "writing results elsewhere", "leave output out: the hub keeps results, see GET /v1/tasks/{id}/result")
	}
	return nil
}

func (s *TaskSpec) checkParams() error {
	if len(s.Params) > maxParams {
		return invalid("params", "%d parameters, at most %d", len(s.Params), maxParams)
	}
	for k := range s.Params {
		if k == "" || len(k) > maxParamName {
			return invalid("params", "parameter name %.80q: want 1 to %d bytes", k, maxParamName)
		}
		var text string
		_ = json.Unmarshal(s.Params[k], &text) // anything but a string has no NUL
		if strings.ContainsAny(k, "=\x00") || strings.Contains(text, "\x00") {
			return invalid("params", "parameter %.80q: engines get parameters as environment variables, whose names have no '=' and which hold no NUL", k)
		}
	}
	return nil
}

func (s *TaskSpec) checkPlacement() error {
	if err := s.checkResidency(); err != nil {
		return err
	}
	p := s.Placement
	if p == nil {
		return nil
	}
	if len(p.Regions) > maxList {
		return invalid("placement.regions", "%d regions, at most %d", len(p.Regions), maxList)
	}
	for i, r := range p.Regions {
		if r == "" || len(r) > maxName {
			return invalid(fmt.Sprintf("placement.regions[%d]", i), "region %.80q: want 1 to %d bytes", r, maxName)
		}
	}
	if _, err := policy.ParseSelector(p.Selector); err != nil {
		return at(err, "placement.selector")
	}
	if p.Line != "" {
		if err := core.CheckName("service", p.Line); err != nil {
			return invalid("placement.line", "%w", err)
		}
	}
	if p.Spread != "" && p.Spread != "owner" {
		return invalid("placement.spread", "%.40q: want owner, or nothing", p.Spread)
	}
	if len(p.TEE) > 0 {
		return unsupported("placement.tee", "placement by attestation", "leave placement.tee out")
	}
	return nil
}

func (s *TaskSpec) checkResidency() error {
	if s.Residency == nil {
		return nil
	}
	if len(s.Residency) == 0 || len(s.Residency) > maxList {
		return invalid("residency", "%d entries: want 1 to %d, or no residency at all", len(s.Residency), maxList)
	}
	if _, err := policy.Parse(s.Residency); err != nil {
		return at(err, "residency")
	}
	return nil
}

func (s *TaskSpec) checkMoney() error {
	if b := s.Budget; b != nil && (b.MaxCost <= 0 || b.MaxCost > core.MaxMoney) {
		return invalid("budget.max_cost", "want more than 0 and at most %s credits", core.MaxMoney)
	}
	switch s.Pricing {
	case "", "posted":
		return nil
	case "auction":
		return unsupported("pricing", "pricing by auction", "use posted, or leave pricing out")
	}
	return invalid("pricing", "%.40q: want posted", s.Pricing)
}

func (s *TaskSpec) checkCallback() error {
	if s.Callback == nil {
		return nil
	}
	if len(s.Callback.URL) > maxURL {
		return invalid("callback.url", "the URL has %d bytes, at most %d", len(s.Callback.URL), maxURL)
	}
	return checkURL("callback.url", s.Callback.URL)
}

func (s *TaskSpec) checkSLA() error {
	a := s.SLA
	if a == nil {
		return nil
	}
	if a.Latency < 0 || a.Latency.Std() > MaxPhase {
		return invalid("sla.latency", "want more than 0 and at most %s", MaxPhase)
	}
	if math.IsNaN(a.MinReliability) || a.MinReliability < 0 || a.MinReliability > 1 {
		return invalid("sla.min_reliability", "%g: want 0 to 1", a.MinReliability)
	}
	if a.Deadline != nil && a.Deadline.IsZero() {
		return invalid("sla.deadline", "want a time")
	}
	if _, err := a.PenaltyPerMille(); err != nil {
		return err
	}
	if a.Penalty == "" {
		return nil
	}
	if a.Latency == 0 {
		return invalid("sla.penalty", "without sla.latency there is nothing to be late for").WithHint("add sla.latency")
	}
	if a.Latency.Std() < minPenalLatency {
		return invalid("sla.latency", "%s: with a penalty it is at least %s, which a node can keep", a.Latency.Std(), minPenalLatency)
	}
	if perMille, _ := a.PenaltyPerMille(); perMille > MaxPenalty {
		return invalid("sla.penalty", "%s: a late result is still a result; want at most %d%%", a.Penalty, MaxPenalty/10)
	}
	return nil
}
