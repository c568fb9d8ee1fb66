package app

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"atoll/client"
	"atoll/internal/openaiwire"
)

// A hub that stops tells those who wait, and how to come by the rest: streams of
// answers end with an error, answers that are waited for are one, and streams of
// events end at once.
func TestHubStopsWhileClientsWait(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 10_000, "delay=1h"))
	pushCoral(t, c)
	next, stop := iter.Pull2(stream(t, n, "/v1/completions", story))
	defer stop()
	_, id := textOf(t, next, func(text string) bool { return text != "" })

	waited := make(chan openaiwire.Error, 1)
	go func() {
		defer close(waited)
		_, failed := post(t, n, "/v1/completions", strings.Replace(story, `"stream":true,`, "", 1), &openaiwire.Text{})
		waited <- failed
	}()
	eventually(t, func() string {
		tasks, err := client.Collect(c.Tasks(t.Context(), ""))
		return fmt.Sprint(len(tasks), err)
	}, "2 <nil>")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.Hub.URL+"/v1/tasks/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.Hub.AdminKey)
	events, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()

	n.cancel()
	said := ""
	for data, err, ok := next(); ok && err == nil; data, err, ok = next() {
		said = string(data)
	}
	if !strings.Contains(said, `"error"`) || !strings.Contains(said, "the hub is stopping; "+id) || !strings.Contains(said, "/v1/tasks/"+id+"/result") {
		t.Errorf("a stream ends with %s", said)
	}
	if failed := <-waited; !strings.Contains(failed.Message, "stopping") || failed.Type != openaiwire.ServerError {
		t.Errorf("a request that waits is told %+v", failed)
	}
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("a stream of events is cut: %v", err)
	}
}

const stopHelper = "ATOLL_TEST_UNTIL_SIGNAL"

// TestMain's stand-in for a process that takes very long to end.
func untilSignalHelper() {
	if os.Getenv(stopHelper) == "" {
		return
	}
	ctx, stop := untilSignal()
	defer stop()
	os.Stdout.WriteString("running\n")
	<-ctx.Done()
	os.Stdout.WriteString("ending\n")
	select {}
}

// The first signal asks the process to end, the second ends it.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("processes cannot be sent SIGTERM there")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), stopHelper+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"running", "ending"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("%q, %v, want %q", lines.Text(), lines.Err(), want)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("the second signal: %v", err)
	}
}
