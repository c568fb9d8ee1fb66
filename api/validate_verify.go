package api

import (
	"math"
	"regexp"
)

const methods = "use none, quorum, reexecute or logprobs"

func (s *TaskSpec) checkVerification() error {
	v := s.Verification
	if v == nil {
		return nil
	}
	switch v.Method {
	case "", "none", "reexecute", "logprobs":
		if v.Replicas > 1 || v.Replicas < 0 || v.Agree > 1 || v.Agree < 0 {
			return invalid("verification.method", "replicas and agree mean nothing without quorum").WithHint(`add "method": "quorum"`)
		}
	case "quorum":
		full := v.withDefaults()
		if full.Replicas < 2 || full.Replicas > MaxReplicas {
			return invalid("verification.replicas", "%d: want 2 to %d", full.Replicas, MaxReplicas)
		}
		if full.Agree <= full.Replicas/2 || full.Agree > full.Replicas {
			return invalid("verification.agree", "%d of %d: want more than half and no more than there are", full.Agree, full.Replicas)
		}
	case "spot-check", "tee":
		return unsupported("verification.method", "verification by "+v.Method, methods)
	default:
		return invalid("verification.method", "%.40q: want none, quorum, reexecute or logprobs", v.Method).WithHint(methods)
	}
	switch {
	case v.Window != 0:
		return unsupported("verification.window", "a challenge window", "leave verification.window out: what is not drawn is paid at once")
	case v.Value != "":
		return unsupported("verification.value", "a value at risk", methods)
	}
	return v.checkSample()
}

var nonceForm = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// sampled reports whether a lot decides which results are looked at again.
func (v *Verification) sampled() bool { return v.Method == "reexecute" || v.Method == "logprobs" }

// checkSample checks what only reexecute and logprobs know.
func (v *Verification) checkSample() error {
	alone := func(field string) error {
		return invalid(field, "means nothing without reexecute or logprobs").WithHint(`add "method": "reexecute"`)
	}
	switch sampled := v.sampled(); {
	case !sampled && v.Rate != 0:
		return alone("verification.rate")
	case v.Method != "reexecute" && v.Span != 0:
		return alone("verification.span")
	case v.Span < 0 || v.Span > maxSpan:
		return invalid("verification.span", "%d: want 1 to %d tokens, or 0 for whole answers", v.Span, maxSpan)
	case !sampled && v.Nonce != "":
		return alone("verification.nonce")
	case sampled && !(v.Rate >= 0 && v.Rate <= 1 && v.withDefaults().RatePPM() > 0):
		return invalid("verification.rate", "%g: want a share from 0.000001 to 1", v.Rate)
	case len(v.Nonce) > maxNonce || !nonceForm.MatchString(v.Nonce):
		return invalid("verification.nonce", "%.80q: want at most %d letters, digits, - and _", v.Nonce, maxNonce)
	}
	return nil
}

// RatePPM is Rate in millionths: what is signed holds no floats.
func (v *Verification) RatePPM() int64 { return int64(math.Round(v.Rate * 1e6)) }
