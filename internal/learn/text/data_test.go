package text_test

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"atoll/internal/learn/text"
)

// dataFile opens a file of the published data sets, or skips the test, saying
// where the file is from.
func dataFile(t testing.TB, name, origin string) io.Reader {
	t.Helper()
	if underRace {
		t.Skip("training takes too long under the race detector; run without -race")
	}
	dir := os.Getenv("ATOLL_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("the published data is absent (%v); get it from %s, gzip it, and name the folder in ATOLL_DATA", err, origin)
	}
	t.Cleanup(func() { _ = f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func banking77(t testing.TB, part string) []text.Example {
	t.Helper()
	rows, err := csv.NewReader(dataFile(t, "docs-banking77/"+part+".csv.gz", "github.com/PolyAI-LDN/task-specific-datasets, banking_data/"+part+".csv")).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []text.Example
	for _, r := range rows[1:] {
		out = append(out, text.Example{Text: r[0], Label: r[1]})
	}
	return out
}

func smsSpam(t testing.TB) []text.Example {
	t.Helper()
	var out []text.Example
	lines := bufio.NewScanner(dataFile(t, "docs-sms-spam/SMSSpamCollection.gz", "archive.ics.uci.edu/dataset/228/sms+spam+collection"))
	for lines.Scan() {
		label, msg, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			t.Fatalf("line %d has no tab", len(out)+1)
		}
		out = append(out, text.Example{Text: strings.ToValidUTF8(msg, "\uFFFD"), Label: label})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
