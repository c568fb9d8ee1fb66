package simtest

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// plantedWithin is by how many seeds each planted bug must have been found.
const plantedWithin = "500"

var failedSeed = regexp.MustCompile(`seed (\d+): (.*)`)

// TestPlanted builds this test once for each planted bug (see internal/planted)
// and demands that the simulation finds it: a guard that no seed needs would
// mean that the seeds do not look there.
func TestPlanted(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub once for each planted bug; run without -short")
	}
	for _, bug := range []string{"dedupe", "ack", "commit", "pay", "spread", "send", "resign", "draw"} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "plant_"+bug, "-run", "^TestSeeds$", "-count", "1", ".",
				"-seeds", plantedWithin, "-stop-at-first")
			cmd.Env = os.Environ()
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("not found within %s seeds", plantedWithin)
			}
			found := failedSeed.FindSubmatch(out)
			if found == nil {
				t.Fatalf("the run ended otherwise: %v\n%s", err, out)
			}
			t.Logf("found by seed %s: %s", found[1], found[2])
		})
	}
}
