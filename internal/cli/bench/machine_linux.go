package bench

import (
	"os"

	"github.com/prometheus/procfs"
)

// userHz is the unit of times in /proc, the same on every Linux of today.
const userHz = 100

// cpuModel names the processor.
func cpuModel() string {
	p, err := procfs.NewDefaultFS()
	if err != nil {
		return ""
	}
	info, err := p.CPUInfo()
	if err != nil || len(info) == 0 {
		return ""
	}
	return info[0].ModelName
}

// ownCPU is the processor time of this process so far, in seconds.
func ownCPU() *float64 {
	p, err := procfs.NewProc(os.Getpid())
	if err != nil {
		return nil
	}
	st, err := p.Stat()
	if err != nil {
		return nil
	}
	seconds := float64(st.UTime+st.STime) / userHz
	return &seconds
}

// familyCPU is the processor time of a process and its descendants, living and
// dead, so far, in seconds.
func familyCPU(pid int) *float64 {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	stats := map[int]procfs.ProcStat{}
	for _, p := range all {
		if st, err := p.Stat(); err == nil { // it may have ended meanwhile
			stats[p.PID] = st
		}
	}
	if _, ok := stats[pid]; !ok {
		return nil
	}
	ticks := 0.0
	for id, st := range stats {
		for up := id; up > 1; up = stats[up].PPID {
			if up == pid {
				ticks += float64(st.UTime+st.STime) + float64(st.CUTime) + float64(st.CSTime)
				break
			}
		}
	}
	seconds := ticks / userHz
	return &seconds
}
