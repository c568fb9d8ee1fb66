package api

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// PenaltyPerMille reads Penalty, "20%" or "0.2", as a share in thousandths, 0 to
// 1000. Shares that are not a whole number of thousandths are refused.
func (a *SLA) PenaltyPerMille() (int, error) {
	const hint = `write "20%" or "0.2"`
	if a.Penalty == "" {
		return 0, nil
	}
	text, percent := strings.CutSuffix(a.Penalty, "%")
	decimals := 3
	if percent {
		decimals = 1
	}
	whole, frac, dotted := strings.Cut(text, ".")
	if len(whole) > 3 || !isDigits(whole) || (dotted && !isDigits(frac)) {
		return 0, invalid("sla.penalty", "%.40q is not a share", a.Penalty).WithHint(hint)
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > decimals {
		return 0, invalid("sla.penalty", "%.40q is finer than a thousandth", a.Penalty).WithHint(hint)
	}
	n, err := strconv.Atoi(whole + frac + strings.Repeat("0", decimals-len(frac)))
	if err != nil || n > 1000 {
		return 0, invalid("sla.penalty", "%.40q is more than the whole price", a.Penalty).WithHint(hint)
	}
	return n, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (s *TaskSpec) checkResources() error {
	r := s.Resources
	if r == nil {
		return nil
	}
	if err := checkQuantity("resources.cpu", r.CPU, maxCPU); err != nil {
		return err
	}
	if err := checkQuantity("resources.memory", r.Memory, maxMemory); err != nil {
		return err
	}
	g := r.GPU
	if g == nil {
		return nil
	}
	if g.Count < 1 || g.Count > maxGPUs {
		return invalid("resources.gpu.count", "%d: want 1 to %d", g.Count, maxGPUs)
	}
	if len(g.Type) > maxName {
		return invalid("resources.gpu.type", "longer than %d bytes", maxName)
	}
	return checkQuantity("resources.gpu.memory", g.Memory, maxMemory)
}

// checkQuantity checks a Kubernetes quantity; empty means not given.
func checkQuantity(field, text string, most int64) error {
	// The parser computes 10^exponent in full, whatever the exponent: "9e999999999"
	// would keep it busy for minutes.
	const longest, longestExponent = 40, 2
	if text == "" {
		return nil
	}
	if len(text) > longest {
		return invalid(field, "the quantity is longer than %d characters", longest)
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 && len(strings.TrimLeft(text[i+1:], "+-")) > longestExponent {
		return invalid(field, "%q: the exponent has more than %d digits", text, longestExponent)
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return invalid(field, "%q is not a quantity", text).WithHint("Kubernetes notation: 500m, 2, 512Mi, 16Gi")
	}
	if q.Sign() <= 0 || q.CmpInt64(most) > 0 {
		return invalid(field, "%q: want more than 0 and at most %d", text, most)
	}
	return nil
}

func (s *TaskSpec) checkTimes() error {
	if s.Timeout != nil {
		if err := s.Timeout.check(); err != nil {
			return err
		}
	}
	if r := s.Retry; r != nil && (r.MaxAttempts < 1 || r.MaxAttempts > MaxAttempts) {
		return invalid("retry.max_attempts", "%d: want 1 to %d", r.MaxAttempts, MaxAttempts)
	}
	d := s.Disconnect
	if d == nil || d.LostAfter == 0 {
		return nil
	}
	return between("disconnect.lost_after", d.LostAfter, minLostAfter, MaxTotal)
}

func (t *Timeout) check() error {
	for _, phase := range []struct {
		field string
		d     Duration
		most  time.Duration
	}{{"timeout.queue", t.Queue, MaxPhase}, {"timeout.execution", t.Execution, MaxPhase}, {"timeout.total", t.Total, MaxTotal}} {
		if phase.d == 0 {
			continue // the default
		}
		if err := between(phase.field, phase.d, minPhase, phase.most); err != nil {
			return err
		}
	}
	if full := t.withDefaults(); full.Total < full.Execution {
		return invalid("timeout.total", "%s is shorter than timeout.execution, %s", full.Total.Std(), full.Execution.Std())
	}
	return nil
}

func between(field string, d Duration, least, most time.Duration) error {
	if d.Std() < least || d.Std() > most {
		return invalid(field, "%s: want at least %s and at most %s", d.Std(), least, most)
	}
	return nil
}
