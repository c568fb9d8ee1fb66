package receipt

import (
	"errors"

	"atoll/internal/core"
	"atoll/internal/tlog"
)

// Want is what a receipt is checked against. Only Logs is required; a check
// whose want is zero is skipped, and the report says so.
type Want struct {
	Logs []tlog.Key // trusted; see ParseTrustedRoot
	// Key is the expected signer. Zero: the key in the log entry is used, which
	// proves integrity but not who signed.
	Key    Key
	Type   string       // ExecutionType, VerdictType or RoundType
	Lease  core.LeaseID // and, if given, it is this lease's task, nonce and result
	Task   core.TaskID
	Nonce  string
	Result core.Digest // of the result's bytes
	// Commits come from the receipt that a verdict is about: see Report.Commits.
	Commits   Commits
	Seen      Seen
	Witnesses []tlog.Witness // each must have cosigned
}

// Seen is the greatest tree that the caller has believed before.
type Seen struct {
	Size  int64
	Root  tlog.Hash
	Proof []tlog.Hash // of consistency, from Size to the receipt's tree
}

// Step is one check's outcome. A skipped step was not wanted, or could not be
// made after another had failed.
type Step struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Detail  string `json:"detail"`
	Err     error  `json:"-"` // wraps the check's own error if it failed
}

// Report is what Check found. Its statement is to be believed only if Check
// returned no error.
type Report struct {
	Steps      []Step          `json:"checks"`
	Type       string          `json:"type,omitempty"`
	Receipt    core.Digest     `json:"receipt,omitzero"` // of the PAE
	Signer     core.Digest     `json:"signer,omitzero"`  // of the public key
	Origin     string          `json:"log,omitempty"`
	Index      int64           `json:"log_index"`
	Checkpoint tlog.Checkpoint `json:"-"`
	Execution  *Execution      `json:"execution,omitempty"`
	Verdict    *Verdict        `json:"verdict,omitempty"`
	Round      *Round          `json:"round,omitempty"`
}

// steps are the checks, in their order. Each fails with one error of its own.
var steps = []struct {
	name string
	run  func(*checker) (detail string, err error)
}{
	{"bundle", (*checker).bundle},
	{"key", (*checker).key},
	{"signature", (*checker).signature},
	{"statement", (*checker).statement},
	{"type", (*checker).kind},
	{"lease", (*checker).lease},
	{"task", (*checker).task},
	{"nonce", (*checker).nonce},
	{"result", (*checker).result},
	{"draw", (*checker).lots},
	{"entry", (*checker).logEntry},
	{"inclusion", (*checker).inclusion},
	{"log", (*checker).log},
	{"checkpoint", (*checker).checkpoint},
	{"origin", (*checker).origin},
	{"root", (*checker).treeRoot},
	{"growth", (*checker).growth},
	{"consistency", (*checker).consistency},
	{"witness", (*checker).witness},
}

// Check makes every check on a bundle that can be made, offline, and returns
// the first failure, which wraps one of this package's errors. The report is
// never nil. A statement that passes is authentic, no more: a receipt may well
// say that its lease failed, and a verdict that it was rejected.
func Check(bundle []byte, want Want) (*Report, error) {
	c := &checker{want: want, raw: bundle, report: &Report{}}
	var first error
	for _, s := range steps {
		detail, err := s.run(c)
		step := Step{Name: s.name, OK: err == nil, Detail: detail}
		if skip, ok := errors.AsType[skipped](err); ok {
			step.Skipped, step.Detail = true, string(skip)
		} else if err != nil {
			step.Err, step.Detail = err, err.Error()
			if first == nil {
				first = err
			}
		}
		c.report.Steps = append(c.report.Steps, step)
	}
	return c.report, first
}

// skipped is the reason why a check was not made.
type skipped string

func (s skipped) Error() string { return string(s) }

const (
	notAsked = skipped("not asked for")
	notMade  = skipped("cannot be made after an earlier failure")
)

// checker carries what earlier checks found; nil and zero mean that they failed.
type checker struct {
	want   Want
	raw    []byte
	report *Report

	parsed   *parsedBundle
	entry    *leaf
	signer   Key
	opened   *opened
	trusted  tlog.Key
	tree     tlog.Checkpoint
	signed   bool // the checkpoint's signature holds
	noOrigin error
	treeOK   bool
}
