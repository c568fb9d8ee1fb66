package simtest

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// plantedWithin is by how many seeds each planted bug must have been found.
const plantedWithin = "500"

var (
	failedSeed = regexp.MustCompile(`seed (\d+): (.*)`)
	failedTest = regexp.MustCompile(`--- FAIL: (\w+)`)
)

// plantedParts are the bugs of models that several nodes hold, of sums under masks and of privacy, with the
// package and the test that must find each.
var plantedParts = map[string][2]string{
	"stale":   {"shard", "TestHostileNeighbour"},
	"twice":   {"shard", "TestRowsAgain"},
	"account": {"shard/audit", "TestRead"},
	"accuse":  {"verify", "TestAuditorsMustAgree"},
	"charter": {"shard/charter", "TestBook"},
	"suspect": {"control", "TestLiarsHoldNoLayers"},

	"secondvector": {"secagg", "TestCrash"},
	"shortseed":    {"secagg", "TestWholeKeys"},
	"bothshares":   {"secagg", "TestOneKindOfShare"},

	"overspend": {"privacy", "TestAcrossFederations"},
	"thin":      {"privacy", "TestShares"},
	"long":      {"codec", "TestRoundingIsConditional"},
}

// TestPlanted builds the suite once for each planted bug (see internal/planted) and
// demands that the simulation, or the test that is named for it, finds it: a guard that
// no seed needs would mean that the seeds do not look there.
func TestPlanted(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub once for each planted bug; run without -short")
	}
	for _, bug := range []string{"dedupe", "ack", "commit", "pay", "spread", "send", "resign", "draw"} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			found := plant(t, bug, failedSeed, "-run", "^TestSeeds$", ".", "-seeds", plantedWithin, "-stop-at-first")
			t.Logf("found by seed %s: %s", found[1], found[2])
		})
	}
	for bug, by := range plantedParts {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			if found := plant(t, bug, failedTest, "-run", "^"+by[1]+"$", "../"+by[0]); string(found[1]) != by[1] {
				t.Errorf("found by %s", found[1])
			}
		})
	}
}

// plant tests with a bug, and returns how it was found.
func plant(t *testing.T, bug string, how *regexp.Regexp, args ...string) [][]byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-tags", "plant_" + bug, "-count", "1"}, args...)...)
	cmd.Env = os.Environ()
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("not found by %v", args)
	}
	found := how.FindSubmatch(out)
	if found == nil {
		t.Fatalf("the run ended otherwise: %v\n%s", err, out)
	}
	return found
}
