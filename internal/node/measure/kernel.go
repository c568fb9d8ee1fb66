package measure

import (
	"bytes"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// maxProc bounds what is read of any file of the kernel's.
const maxProc = 64 << 10

func quotaV2(root fs.FS) (quota, period int64, ok bool) {
	text, err := readSmall(root, "sys/fs/cgroup/cpu.max")
	fields := strings.Fields(text)
	if err != nil || len(fields) != 2 || fields[0] == "max" {
		return 0, 0, false
	}
	quota, err1 := strconv.ParseInt(fields[0], 10, 64)
	period, err2 := strconv.ParseInt(fields[1], 10, 64)
	return quota, period, err1 == nil && err2 == nil
}

func quotaV1(root fs.FS) (quota, period int64, ok bool) {
	quota, ok1 := readInt(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
	period, ok2 := readInt(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us")
	return quota, period, ok1 && ok2
}

// memTotal reads MemTotal of /proc/meminfo, in bytes; 0 if it is not there.
func memTotal(root fs.FS) int64 {
	text, err := readSmall(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil || kb < 0 || kb > 1<<53 {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

func readInt(root fs.FS, path string) (int64, bool) {
	text, err := readSmall(root, path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil // "max" is no number, and no limit
}

func readSmall(root fs.FS, path string) (string, error) {
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProc))
	return string(bytes.ToValidUTF8(b, nil)), err
}
