package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// maybeHelper makes the test binary one of two other processes: one that puts
// only Landlock on itself, and one that starts a child and then waits.
func maybeHelper() {
	if len(os.Args) != 2 {
		return
	}
	switch os.Args[1] {
	case "landlock-alone":
		r := newReport()
		restrictFiles(&r)
		for _, a := range attempts()[:4] {
			_, err := a.try()
			fmt.Printf("%d %s: %v\n", r.Landlock, a.what, errors.Is(err, unix.EACCES))
		}
	case "parent":
		p, err := Start(context.Background(), Config{Worker: "spin", Limits: limits()})
		if err == nil {
			err = errors.Join(p.Put(1), p.Flush())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		p.Wait()
	default:
		return
	}
	os.Exit(0)
}

// TestLandlockAlone shows the second wall without the first.
func TestLandlockAlone(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("/proc/self/exe", "landlock-alone").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	version, _ := strconv.Atoi(strings.Fields(string(out))[0])
	switch {
	case version == 0:
		t.Skip("this kernel enforces no Landlock; run on Linux 5.13 or later with landlock among its lsm= modules")
	case !strings.Contains(string(out), "list a directory: true"), !strings.Contains(string(out), "write a file: true"):
		t.Errorf("files were not denied:\n%s", out)
	}
}

// TestOrphan kills a parent and watches its busy child die.
func TestOrphan(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", "parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatalf("the child outlived its parent by ten seconds (%v)", err)
		}
		return
	}
}

// TestInheritedFile leaves a descriptor open across exec, as a careless shell
// does, and sees it closed.
func TestInheritedFile(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	p := start(t, "echo", limits())
	defer p.Close()
	w.Close()
	// With the child's copy closed, too, the pipe is at its end.
	if n, err := r.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes", n)
	}
}
