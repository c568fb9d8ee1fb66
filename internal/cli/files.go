package cli

import (
	"crypto/sha256"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"atoll/internal/core"
)

// digestFile names a file's content, which need not fit into memory.
func digestFile(path string) (d core.Digest, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return core.Digest(h.Sum(nil)), size, err
}

// changed lists the flags that were given.
func changed(cmd *cobra.Command) (names []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}
