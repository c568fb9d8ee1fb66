package api

// WithDefaults returns a copy of a valid specification in which Timeout, Retry,
// Disconnect, Verification, Budget and Pricing are set and complete. It shares
// nothing that it filled in with s.
func (s *TaskSpec) WithDefaults() TaskSpec {
	out := *s
	out.Timeout = s.Timeout.withDefaults()
	out.Verification = s.Verification.withDefaults()

	out.Retry = &Retry{MaxAttempts: defaultAttempts}
	if s.Retry != nil {
		*out.Retry = *s.Retry
	}
	d := Disconnect{}
	if s.Disconnect != nil {
		d = *s.Disconnect
	}
	setDefault(&d.LostAfter, defaultLostAfter)
	if d.Replace == nil {
		d.Replace = new(true)
	}
	out.Disconnect = &d

	out.Budget = &Budget{MaxCost: defaultMaxCost}
	if s.Budget != nil {
		*out.Budget = *s.Budget
	}
	setDefault(&out.Pricing, "posted")
	return out
}

func (t *Timeout) withDefaults() *Timeout {
	out := Timeout{}
	if t != nil {
		out = *t
	}
	setDefault(&out.Queue, defaultQueue)
	execution := defaultExecution
	if out.Total != 0 {
		execution = min(execution, out.Total) // a short task needs only to say so once
	}
	setDefault(&out.Execution, execution)
	setDefault(&out.Total, max(defaultTotal, out.Queue+out.Execution))
	return &out
}

func (v *Verification) withDefaults() *Verification {
	out := Verification{}
	if v != nil {
		out = *v
	}
	setDefault(&out.Method, "none")
	if out.Method != "quorum" {
		out.Replicas, out.Agree = 1, 1
		if out.sampled() {
			setDefault(&out.Rate, defaultRate)
		}
		return &out
	}
	setDefault(&out.Replicas, defaultReplicas)
	setDefault(&out.Agree, out.Replicas/2+1)
	return &out
}

// setDefault sets a field that was not given.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
