package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/receipt"
	"atoll/internal/tlog"
)

func (s *session) receiptCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt",
		Short: "Fetch receipts, and check them offline",
		Long: `Each lease ends in a receipt that the node has signed and a verdict that the hub
has signed. Both are Sigstore bundles with a proof that they are in the hub's
public log. Checking one needs no hub and no network: only the bundle, the log's
trusted root, and, to prove who signed, the signer's public key.`,
		Example: `  atoll task receipts task_0c3v7k9qmbn4a
  atoll receipt get lease_0c3v7k9qmbn4b --dir receipts
  atoll receipt verify receipts/lease_0c3v7k9qmbn4b.receipt.sigstore.json --trusted-root receipts/trusted-root.json --result receipts/lease_0c3v7k9qmbn4b.result`,
	}
	cmd.AddCommand(s.receiptGetCmd(), s.receiptVerifyCmd())
	return cmd
}

// How the names of saved bundles end.
const (
	receiptEnd = ".receipt.sigstore.json"
	verdictEnd = ".verdict.sigstore.json"
)

// fetched are the files that "receipt get" has written.
type fetched struct {
	Lease       core.LeaseID `json:"lease"`
	Receipt     string       `json:"receipt"`
	Verdict     string       `json:"verdict,omitempty"`
	TrustedRoot string       `json:"trusted_root"`
	NodeKey     string       `json:"node_key,omitempty"`
	Result      string       `json:"result,omitempty"`
}

func (s *session) receiptGetCmd() *cobra.Command {
	dir := "."
	cmd := s.verb("get LEASE", "Save a lease's receipt, verdict, result, and what they are checked with", "atoll receipt get lease_0c3v7k9qmbn4b --dir receipts", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		id, err := core.ParseLeaseID(args[0])
		if err != nil {
			return usageError{err}
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		g := getter{s: s, c: c, cmd: cmd, dir: dir, id: id}
		if err := g.get(); err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(g.out)
		}
		for _, f := range []string{g.out.Receipt, g.out.Verdict, g.out.Result, g.out.NodeKey, g.out.TrustedRoot} {
			if f != "" {
				fmt.Fprintln(s.out, f)
			}
		}
		return nil
	})
	cmd.Flags().StringVar(&dir, "dir", dir, "`DIR` to save them in")
	_ = cmd.MarkFlagDirname("dir")
	s.jsonFlag(cmd)
	return cmd
}

// getter saves what belongs to one lease.
type getter struct {
	s   *session
	c   *client.Client
	cmd *cobra.Command
	dir string
	id  core.LeaseID
	out fetched
}

func (g *getter) get() error {
	ctx := g.cmd.Context()
	g.out.Lease = g.id
	bundle, err := g.c.Receipt(ctx, g.id)
	if err != nil {
		return err
	}
	if g.out.Receipt, err = g.save(g.id.String()+receiptEnd, bundle); err != nil {
		return err
	}
	root, err := g.c.TrustedRoot(ctx)
	if err != nil {
		return err
	}
	if g.out.TrustedRoot, err = g.save("trusted-root.json", root); err != nil {
		return err
	}
	verdict, err := g.c.Verdict(ctx, g.id)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == 404 {
		err = nil // not judged yet
	} else if err == nil {
		g.out.Verdict, err = g.save(g.id.String()+verdictEnd, verdict)
	}
	if err != nil {
		return err
	}
	return g.about(bundle)
}

// about saves the node's key and the result that the receipt speaks of.
func (g *getter) about(bundle []byte) error {
	ctx := g.cmd.Context()
	e, l := executed(bundle, g.id)
	if e == nil {
		return nil // not a receipt that we understand: verify will say why
	}
	keys, err := g.c.SigningKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range append(keys.Nodes, keys.Hub) {
		if k.ID != string(e.Node) && k.ID != keys.Hub.ID {
			continue
		}
		path, err := g.save(k.ID+".pub", []byte(k.PublicKey))
		if err != nil {
			return err
		}
		if k.ID == string(e.Node) {
			g.out.NodeKey = path
		}
	}
	if l == nil || l.Outcome != receipt.OK {
		return nil
	}
	data, err := g.c.PartResult(ctx, l.Task, l.Part)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == 409 {
		return nil // the part has no result
	}
	if err != nil || core.DigestOf(data) != l.Result {
		return err // the part's result is another node's
	}
	g.out.Result, err = g.save(g.id.String()+".result", data)
	return err
}

func (g *getter) save(name string, data []byte) (string, error) {
	path := filepath.Join(g.dir, name)
	return path, durable.WriteFile(path, data, durable.Public)
}

// executed reads a receipt bundle without believing it.
func executed(bundle []byte, id core.LeaseID) (*receipt.Execution, *receipt.ExecutedLease) {
	r, _ := receipt.Check(bundle, receipt.Want{})
	if r == nil || r.Execution == nil {
		return nil, nil
	}
	for i := range r.Execution.Leases {
		if r.Execution.Leases[i].Lease == id {
			return r.Execution, &r.Execution.Leases[i]
		}
	}
	return r.Execution, nil
}

// verifyFlags say what a bundle is checked against.
type verifyFlags struct {
	result, root, key, receipt, lease, task, nonce string
	witness                                        []string
}

func (s *session) receiptVerifyCmd() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check a receipt or verdict, offline", Args: cobra.ExactArgs(1),
		Long: `Make every check there is on a bundle, and print each with its outcome: the
signature, the statement's form, its digest against the result, its place in the
log, and the log's own signature. Exit code 3 if any fails.

The trusted root comes from the hub (/.well-known/atoll/trusted-root.json); keep
your own copy. Without --trusted-root a file trusted-root.json beside the bundle
is used. Without --node-key the key in the log's entry is used, which
proves that nothing was changed, but not who signed.

Of results of which a sample is run again the verdict says how the lot fell, and
the lot is cast again here. The receipt shows that the hub was held to its secret
before it saw the result: without --receipt the file beside the verdict is used, if
"atoll receipt get" has put one there.`,
		Example: "  atoll receipt verify lease_….receipt.sigstore.json --trusted-root trusted-root.json --node-key bonn-1.pub --result lease_….result",
		RunE:    func(_ *cobra.Command, args []string) error { return s.verify(&f, args[0]) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.result, "result", "", "`FILE` with the result: its bytes must be what was signed for")
	fl.StringVar(&f.root, "trusted-root", "", "`FILE` with the trusted root of the log")
	fl.StringVar(&f.key, "node-key", "", "`FILE` with the public key (PEM) of the node, or of the hub for a verdict")
	fl.StringVar(&f.receipt, "receipt", "", "`FILE` with the receipt that a verdict is about")
	fl.StringVar(&f.lease, "lease", "", "`LEASE` that the receipt must be for")
	fl.StringVar(&f.task, "task", "", "`TASK` that the receipt must be for")
	fl.StringVar(&f.nonce, "nonce", "", "`NONCE` that the receipt must answer")
	fl.StringArrayVar(&f.witness, "witness", nil, "`KEY` (C2SP vkey) of a witness that must have cosigned the log; may be repeated")
	for _, name := range []string{"result", "trusted-root", "node-key", "receipt"} {
		_ = cmd.MarkFlagFilename(name)
	}
	s.jsonFlag(cmd)
	return cmd
}

func (s *session) verify(f *verifyFlags, path string) error {
	bundle, err := s.readFile(path, receipt.MaxBundle)
	if err != nil {
		return err
	}
	// What is no bundle needs no trusted root to be refused.
	if r, err := receipt.Check(bundle, receipt.Want{}); errors.Is(err, receipt.ErrBundle) {
		return s.verified(r, err)
	}
	want, err := f.want(s, path)
	if err != nil {
		return err
	}
	return s.verified(receipt.Check(bundle, want))
}

// verified prints the outcome of all checks.
func (s *session) verified(report *receipt.Report, refused error) error {
	if !s.asJSON {
		s.printReport(report, refused)
	} else if err := s.printJSON(struct {
		OK bool `json:"ok"`
		*receipt.Report
	}{refused == nil, report}); err != nil {
		return err
	}
	if refused != nil {
		return errNo
	}
	return nil
}

func (s *session) printReport(r *receipt.Report, refused error) {
	for _, step := range r.Steps {
		mark := s.out.Mark(step.OK)
		if step.Skipped {
			mark = "-"
			if !r.Steps[0].OK {
				continue // of what is no bundle there is no more to say
			}
		}
		fmt.Fprintf(s.out, "%s %-11s %s\n", mark, step.Name, clean(step.Detail))
	}
	if refused != nil {
		fmt.Fprintf(s.out, "%s: %s\n", s.out.Red("REFUSED"), clean(refused.Error()))
		return
	}
	fmt.Fprintln(s.out, s.out.Green("ACCEPTED"))
	if e := r.Execution; e != nil {
		for _, l := range e.Leases {
			fmt.Fprintf(s.out, "  node %s of %s says: %s part %d, %s, in %s\n", clean(string(e.Node)), clean(string(e.Owner)), l.Task, l.Part, clean(string(l.Outcome)), clean(l.RegionDeclared))
		}
	}
	if x := r.Round; x != nil {
		fmt.Fprintf(s.out, "  hub %s says: round %d of %s added up %d sites under run %s; the model %s became %s\n", clean(x.Hub), x.Round, x.Federation, len(x.Participants), x.Run.Short(), x.Before.Short(), x.After.Short())
		for _, p := range x.Participants {
			fmt.Fprintf(s.out, "    %s, key %s\n", clean(p.Site), p.Key)
		}
		if v := x.Privacy; v != nil {
			fmt.Fprintf(s.out, "    told of one %s by then: ε = %.6g at δ = %s\n", clean(v.Unit), float64(v.EpsilonMicro)/1e6, clean(v.Delta))
		}
	}
	if v := r.Verdict; v != nil {
		for _, l := range v.Leases {
			fmt.Fprintf(s.out, "  hub %s says: %s part %d by %s %s, %s credits %s\n", clean(v.Hub), l.Task, l.Part, clean(string(l.Node)), clean(string(l.Outcome)), core.Money(l.PayMicro), clean(l.Reason))
		}
	}
}

// want reads what the bundle is checked against.
func (f *verifyFlags) want(s *session, bundle string) (w receipt.Want, err error) {
	root, err := f.trustedRoot(s, bundle)
	if err != nil {
		return w, err
	}
	if w.Logs, err = receipt.ParseTrustedRoot(root); err != nil {
		return w, fmt.Errorf("trusted root: %w", err)
	}
	if f.key != "" {
		pem, err := s.readFile(f.key, 64<<10)
		if err != nil {
			return w, err
		}
		if w.Key, err = receipt.ParseKey(pem); err != nil {
			return w, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	if f.result != "" {
		data, err := s.readFile(f.result, maxInput)
		if err != nil {
			return w, err
		}
		w.Result = core.DigestOf(data)
	}
	if f.lease != "" {
		if w.Lease, err = core.ParseLeaseID(f.lease); err != nil {
			return w, usageError{err}
		}
	}
	if f.task != "" {
		if w.Task, err = core.ParseTaskID(f.task); err != nil {
			return w, usageError{err}
		}
	}
	w.Nonce = f.nonce
	if w.Commits, err = f.commits(s, bundle, w.Logs); err != nil {
		return w, err
	}
	for _, vkey := range f.witness {
		x, err := tlog.ParseWitness(vkey)
		if err != nil {
			return w, usagef("--witness: %w", err)
		}
		w.Witnesses = append(w.Witnesses, x)
	}
	return w, nil
}

// commits reads what the receipt that a verdict is about says of the draw. A
// receipt that is not sound is refused: it shows nothing.
func (f *verifyFlags) commits(s *session, verdict string, logs []tlog.Key) (receipt.Commits, error) {
	path := f.receipt
	if before, is := strings.CutSuffix(verdict, verdictEnd); is && path == "" {
		path = before + receiptEnd
	}
	if path == "" {
		return receipt.Commits{}, nil
	}
	data, err := s.readFile(path, receipt.MaxBundle)
	if f.receipt == "" && errors.Is(err, fs.ErrNotExist) {
		return receipt.Commits{}, nil
	}
	if err != nil {
		return receipt.Commits{}, err
	}
	report, err := receipt.Check(data, receipt.Want{Logs: logs, Type: receipt.ExecutionType})
	if err != nil {
		return receipt.Commits{}, fmt.Errorf("%s: %w", path, err)
	}
	return report.Commits(), nil
}

func (f *verifyFlags) trustedRoot(s *session, bundle string) ([]byte, error) {
	const most = 1 << 20
	if f.root != "" {
		return s.readFile(f.root, most)
	}
	beside := filepath.Join(filepath.Dir(bundle), "trusted-root.json")
	data, err := s.readFile(beside, most)
	if errors.Is(err, fs.ErrNotExist) || bundle == "-" {
		return nil, usagef("whose log is trusted? give its --trusted-root (\"atoll receipt get\" saves one)")
	}
	return data, err
}
