package e2e

import (
	"encoding/json"
	"flag"
	"testing"
)

var kills = flag.Int("kills", 1, "how many nodes TestNodeLoss kills")

// TestNodeLoss kills the very node that runs a part. What must hold is checked
// in NodeLoss; the times are logged, not judged. To measure:
//
//	go test ./internal/e2e -run NodeLoss -kills 10 -v
func TestNodeLoss(t *testing.T) {
	report, err := NodeLoss(t.Context(), LossConfig{Config: testConfig(t, 3), Rounds: *kills})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", b)
}
