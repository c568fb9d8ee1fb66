package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/diskspace"
	"atoll/internal/node/sandbox"
	"atoll/internal/receipt"
)

// maxSkew is how far two clocks may be apart: leases expire by the hub's.
const maxSkew = 5 * time.Second

// finding is one thing that the doctor looked at.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Do   string `json:"do,omitempty"` // what to do if it is not well
}

func (s *session) doctorCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look whether everything is well, and say what to do", Args: cobra.NoArgs,
		Example: "  atoll doctor\n  atoll --url https://hub.example:8420 doctor --json",
		Long: `Check this machine (sandbox, disk) and the hub of the current context (reachable,
clock, key, nodes, log). Exit code 3 if anything is not well.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := doctor{s: s}
			d.machine(cmd.Context())
			d.hub(cmd.Context())
			return d.print()
		},
	}
	s.jsonFlag(cmd)
	return cmd
}

type doctor struct {
	s     *session
	found []finding
}

func (d *doctor) say(name string, ok bool, text, do string) {
	f := finding{Name: name, OK: ok, Text: text}
	if !ok {
		f.Do = do
	}
	d.found = append(d.found, f)
}

func (d *doctor) print() error {
	well := true
	for _, f := range d.found {
		well = well && f.OK
	}
	if d.s.asJSON {
		if err := d.s.printJSON(map[string]any{"ok": well, "findings": d.found}); err != nil {
			return err
		}
	} else {
		for _, f := range d.found {
			fmt.Fprintf(d.s.out, "%s %-9s %s\n", d.s.out.Mark(f.OK), f.Name, clean(f.Text))
			if f.Do != "" {
				fmt.Fprintf(d.s.out, "  %-9s -> %s\n", "", clean(f.Do))
			}
		}
	}
	if !well {
		return errNo
	}
	return nil
}

// machine looks at where we are.
func (d *doctor) machine(ctx context.Context) {
	d.say("atoll", true, fmt.Sprintf("%s, %s on %s/%s, %d cores", d.s.rt.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), "")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	report, err := sandbox.Probe(ctx)
	switch {
	case err != nil:
		d.say("sandbox", false, err.Error(), "a node here cannot run strangers' modules; offer the engine text only: atoll node run --engines text")
	default:
		d.say("sandbox", len(report.Missing) == 0, report.String(), strings.Join(report.Missing, "; ")+"; run nodes on Linux 5.13 or later for the full sandbox, or offer the engine text only")
	}
	dir := d.s.dataDir("")
	free, at, err := diskspace.Free(dir)
	if err != nil {
		d.say("disk", false, err.Error(), "choose another place with --dir or XDG_DATA_HOME")
		return
	}
	d.say("disk", free >= diskspace.Reserve, fmt.Sprintf("%s free at %s", bytesOf(free), at), "make room, or choose another place with --dir or XDG_DATA_HOME")
}

// hub looks at the hub that is meant, as far as it can be seen from here.
func (d *doctor) hub(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	e, err := d.s.where()
	if err != nil {
		d.say("hub", false, err.Error(), "start one: atoll up")
		return
	}
	cfg := e.config()
	cfg.RetryFor = -1 // what is wrong now is the question
	c, err := client.New(cfg)
	if err != nil {
		d.say("hub", false, err.Error(), "correct the context: atoll context add NAME --url URL")
		return
	}
	sent := time.Now()
	h, err := c.Ready(ctx)
	if client.Untrusted(err) {
		d.say("hub", false, err.Error(), untrustedHint)
		return
	}
	if err != nil {
		d.say("hub", false, err.Error(), "is it running there? atoll context show says where \"there\" is; atoll up starts one here")
		return
	}
	d.say("hub", h.Ready, c.URL()+" answers in "+time.Since(sent).Round(time.Millisecond/10).String()+yes(!h.Ready, ", but it is not ready: "+h.Detail), "wait, or look into the hub's log")
	if !h.Clock.IsZero() {
		skew := time.Since(h.Clock).Truncate(time.Second) // the header has whole seconds
		d.say("clock", skew.Abs() <= maxSkew, fmt.Sprintf("%s from the hub's", skew), "set the clock on this machine or the hub's, best by NTP")
	}
	d.log(ctx, c)
	if d.key(ctx, c, e.Key) {
		d.nodes(ctx, c)
	}
}

func (d *doctor) key(ctx context.Context, c *client.Client, key string) bool {
	const do = "take one: atoll key create ACCOUNT (with an admin's key), then --key, ATOLL_API_KEY or atoll context add"
	if key == "" {
		d.say("key", false, "none is given", do)
		return false
	}
	scopes, err := c.Scopes(ctx)
	if err != nil {
		d.say("key", false, err.Error(), do)
		return false
	}
	d.say("key", len(scopes) > 0, "may act as "+strings.Join(scopes, ", "), do)
	return slices.Contains(scopes, "read")
}

func (d *doctor) nodes(ctx context.Context, c *client.Client) {
	offers, err := client.Collect(c.Offers(ctx, client.OfferQuery{}))
	if err != nil {
		d.say("nodes", false, err.Error(), "")
		return
	}
	owners := map[string]bool{}
	for i := range offers {
		owners[string(offers[i].Owner)] = true
	}
	d.say("nodes", len(offers) > 0, fmt.Sprintf("%d can be had now, of %d owners", len(offers), len(owners)), "let one join: atoll token create OWNER, then atoll join on its machine")
}

// log checks the newest checkpoint with the log's published key.
func (d *doctor) log(ctx context.Context, c *client.Client) {
	text, err := func() (string, error) {
		root, err := c.TrustedRoot(ctx)
		if err != nil {
			return "", err
		}
		logs, err := receipt.ParseTrustedRoot(root)
		if err != nil {
			return "", err
		}
		note, err := c.Checkpoint(ctx)
		if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == 404 {
			return logs[0].Origin() + " is empty as yet", nil
		}
		if err != nil {
			return "", err
		}
		errs := []error{errors.New("no log is trusted")}
		for _, k := range logs {
			tree, err := k.Open(note)
			if err == nil {
				return fmt.Sprintf("%s has %d leaves; its checkpoint verifies", k.Origin(), tree.Size), nil
			}
			errs = append(errs, err)
		}
		return "", errs[len(errs)-1]
	}()
	if err != nil {
		d.say("log", false, err.Error(), "do not trust receipts of this hub before its operator has explained this")
		return
	}
	d.say("log", true, text, "")
}
