package cli

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"atoll/api"
	"atoll/client"
	"atoll/internal/cli/term"
)

// show prints rows as a table or as JSON.
func show[T any](s *session, rows []T, header string, cells func(T) []string) error {
	if s.asJSON {
		if rows == nil {
			rows = []T{}
		}
		return s.printJSON(api.List[T]{Object: "list", Data: rows})
	}
	table := make([][]string, 0, len(rows))
	for _, r := range rows {
		table = append(table, cells(r))
	}
	return s.out.Table(header, table)
}

// showAll prints at most limit rows of an iterator, and says if there are more; 0:
// all.
func showAll[T any](s *session, seq iter.Seq2[T, error], limit int, header string, cells func(T) []string) error {
	if limit < 0 {
		return usagef("--limit %d: want a number of rows, or 0 for all", limit)
	}
	most := limit
	if limit > 0 {
		most = limit + 1
	}
	rows, err := client.Collect(first(seq, most))
	if err != nil {
		return err
	}
	more := limit > 0 && len(rows) > limit
	if more {
		rows = rows[:limit]
	}
	if err := show(s, rows, header, cells); err != nil || !more {
		return err
	}
	fmt.Fprintln(s.err, "there are more; --limit 0 shows all")
	return nil
}

// first ends an iteration after n pairs; 0: never.
func first[T any](seq iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := n
		for v, err := range seq {
			if !yield(v, err) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

func yes(is bool, word string) string {
	if is {
		return word
	}
	return ""
}

func share(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

func millis(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}

func bytesOf(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func labels(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

func clean(s string) string { return term.Clean(s) }
