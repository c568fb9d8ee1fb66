package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"atoll/internal/core"
	"atoll/internal/fed/dataset"
)

// memberFlags name whom a dataset's rows may be learnt from together with.
type memberFlags struct {
	one  []string
	file string
}

func (m *memberFlags) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&m.one, "member", nil, "`NAME=DIGEST` of another owner's node: its name and its key's digest")
	fl.StringVar(&m.file, "members", "", "`FILE` of such lines, as atoll fed roster prints them")
}

// maxMembersFile bounds the file of members.
const maxMembersFile = 1 << 20

// read returns the members that were named.
func (m *memberFlags) read(s *session) (out []dataset.Member, err error) {
	lines := m.one
	if m.file != "" {
		b, err := s.readFile(m.file, maxMembersFile)
		if err != nil {
			return nil, fmt.Errorf("--members: %w", err)
		}
		lines = append(slices.Clone(lines), strings.Split(string(b), "\n")...)
	}
	for _, line := range lines {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, digest, ok := strings.Cut(line, "=")
		key, err := core.ParseDigest(strings.TrimSpace(digest))
		if err != nil || !ok {
			return nil, usagef("member %.100q: want NAME=sha256:…", line)
		}
		out = append(out, dataset.Member{Name: strings.TrimSpace(name), Key: key})
	}
	return out, nil
}

func (s *session) datasetAdmitCmd(store func() dataset.Store) *cobra.Command {
	var m memberFlags
	cmd := &cobra.Command{
		Use: "admit NAME", Short: "Name nodes whose rows are learnt from together with a dataset's", Args: cobra.ExactArgs(1),
		Long: `Add members to a dataset's terms. Ask their owners for the digests of their nodes' keys:
the hub prints them too (atoll fed roster), but is not to be taken at its word.`,
		Example: `  atoll dataset admit loans --members members.txt
  atoll dataset admit loans --member bank-b=sha256:0a1b…`,
		RunE: func(_ *cobra.Command, args []string) error {
			more, err := m.read(s)
			if err != nil {
				return err
			}
			if len(more) == 0 {
				return usagef("--member or --members is needed")
			}
			d, err := store().Get(args[0])
			if err != nil {
				return err
			}
			for _, x := range more {
				if !slices.ContainsFunc(d.Policy.Members, func(had dataset.Member) bool { return had.Key == x.Key }) {
					d.Policy.Members = append(d.Policy.Members, x)
				}
			}
			if d, err = store().Add(d.Name, d.Path, d.Resource, d.Policy, time.Now().UTC().Truncate(time.Second)); err != nil {
				return err
			}
			if s.asJSON {
				return s.printJSON(d)
			}
			fmt.Fprintf(s.out, "%s: learnt from together with %s\n", d.Name, memberNames(&d.Policy))
			return nil
		},
	}
	m.add(cmd.Flags())
	s.jsonFlag(cmd)
	return cmd
}

// memberNames says with whom a dataset's rows may be learnt from.
func memberNames(p *dataset.Policy) string {
	if p.AnyMember {
		return "whomever the hub names"
	}
	names := []string{}
	for _, m := range p.Members {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
