package measure

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"atoll/internal/core"
)

// Executable returns the digest of the program that is running, by which a
// receipt says what build computed it.
func Executable() (d core.Digest, err error) {
	path, err := os.Executable()
	if err != nil {
		return d, fmt.Errorf("find this executable: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return d, fmt.Errorf("read this executable: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return d, fmt.Errorf("read this executable: %w", err)
	}
	return core.Digest(h.Sum(nil)), nil
}
