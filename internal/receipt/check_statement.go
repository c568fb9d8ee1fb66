package receipt

import "fmt"

// The checks of what was said, and by whom.

func (c *checker) bundle() (string, error) {
	p, err := parseBundle(c.raw)
	if err != nil {
		return "", err
	}
	c.parsed = p
	c.report.Receipt, c.report.Index = p.envelope.digest, p.entry.LogIndex
	if l, err := parseLeaf(p.entry.Body); err == nil {
		c.entry = &l // that it could not be read is said by logEntry
	}
	return fmt.Sprintf("Sigstore bundle v0.3 of %d bytes", len(c.raw)), nil
}

func (c *checker) key() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	k := c.want.Key
	given := !k.IsZero()
	if !given {
		if c.entry == nil {
			return "", fmt.Errorf("%w: none is given, and the log entry has none", ErrKey)
		}
		k = c.entry.key
	}
	if k.hint() != c.parsed.hint {
		return "", fmt.Errorf("%w: the bundle asks for key %.60q, have %s", ErrKey, c.parsed.hint, k.hint())
	}
	c.signer, c.report.Signer = k, k.digest
	if !given {
		return "", skipped("no key is given; used the log entry's, " + k.digest.String() + ": who holds it is not proven")
	}
	return "the given key, " + k.digest.String(), nil
}

func (c *checker) signature() (string, error) {
	if c.signer.IsZero() {
		return "", notMade
	}
	if err := c.signer.verify(&c.parsed.envelope); err != nil {
		return "", err
	}
	return "ECDSA P-256 over the PAE, " + c.parsed.envelope.digest.String(), nil
}

func (c *checker) statement() (string, error) {
	if c.parsed == nil {
		return "", notMade
	}
	o, err := decode(c.parsed.envelope.payload)
	if err != nil {
		return "", err
	}
	c.opened = o
	c.report.Type, c.report.Execution, c.report.Verdict, c.report.Round = o.kind, o.execution, o.verdict, o.round
	if o.round != nil {
		return fmt.Sprintf("in-toto statement over round %d of %s; its subject is the model that came of it", o.round.Round, o.round.Federation), nil
	}
	return fmt.Sprintf("in-toto statement over %d lease(s); each subject is a lease's result", len(o.predicate().claims())), nil
}

func (c *checker) kind() (string, error) {
	switch {
	case c.want.Type == "":
		return "", notAsked
	case c.opened == nil:
		return "", notMade
	case c.opened.kind != c.want.Type:
		return "", fmt.Errorf("%w: %s, want %s", ErrType, c.opened.kind, c.want.Type)
	}
	return c.opened.kind, nil
}

// about returns the claims that the wants are to be compared with: that of the
// wanted lease, or all if no lease is wanted or it is not there.
func (c *checker) about() []claim {
	all := c.opened.predicate().claims()
	for i := range all {
		if all[i].lease == c.want.Lease {
			return all[i : i+1]
		}
	}
	return all
}

func (c *checker) any(asked bool, match func(claim) bool, refusal error, wanted any) (string, error) {
	if !asked {
		return "", notAsked
	}
	if c.opened == nil {
		return "", notMade
	}
	for _, x := range c.about() {
		if match(x) {
			return fmt.Sprintf("%v, as %s says", wanted, x.name), nil
		}
	}
	return "", fmt.Errorf("%w: want %v", refusal, wanted)
}

func (c *checker) lease() (string, error) {
	return c.any(c.want.Lease != 0, func(x claim) bool { return x.lease == c.want.Lease }, ErrLease, c.want.Lease)
}

func (c *checker) task() (string, error) {
	return c.any(c.want.Task != 0, func(x claim) bool { return x.task == c.want.Task }, ErrTask, c.want.Task)
}

func (c *checker) nonce() (string, error) {
	return c.any(c.want.Nonce != "", func(x claim) bool { return x.nonce == c.want.Nonce }, ErrNonce, c.want.Nonce)
}

func (c *checker) result() (string, error) {
	return c.any(!c.want.Result.IsZero(), func(x claim) bool { return x.result == c.want.Result }, ErrSubject, c.want.Result)
}
