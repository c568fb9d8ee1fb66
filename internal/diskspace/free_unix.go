//go:build unix

package diskspace

import "golang.org/x/sys/unix"

// At returns the bytes that are free at dir, which exists, for this user.
func At(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the types differ by system
}
