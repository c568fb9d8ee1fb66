package table

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"atoll/internal/learn/text"
	"atoll/internal/repro"

	"gonum.org/v1/gonum/stat/distuv"
)

// ErrSplit means that rows cannot be divided as asked.
var ErrSplit = errors.New("split")

// Holdout says which rows are kept apart for measuring. A row is held out, or not,
// whatever file it stands in and whoever reads it.
type Holdout struct {
	// Share of rows that are held out, by a keyed hash over Columns: rows that are
	// equal there fall on the same side. Without Columns it is over the primary key.
	// Where privacy is for people, name their column, or some of their rows are on
	// either side.
	Share   text.PPM `json:"share_ppm,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Key     string   `json:"key,omitempty"` // of the hash; another key, another draw

	// Date, if given, holds out the rows from a day on instead.
	Date string `json:"date,omitempty"` // a column
	From string `json:"from,omitempty"` // as 2026-11-23
}

// Rule returns what says of a row whether it is held out.
func (h Holdout) Rule(s *Schema) (func(Row) bool, error) {
	if h.Date != "" {
		at, ok := s.index[h.Date]
		from, err := time.Parse(time.DateOnly, h.From)
		if !ok || err != nil || s.Fields[at].Type != Date && s.Fields[at].Type != DateTime || h.Share != 0 || len(h.Columns) > 0 || h.Key != "" {
			return nil, fmt.Errorf("%w: rows held out from %q on by column %q: want a date or datetime column, a day like 2026-11-23, and no share, columns or key beside them", ErrSplit, h.From, h.Date)
		}
		return func(r Row) bool { return !r.Cells[at].Null && r.Cells[at].Number >= float64(from.Unix()) }, nil
	}
	columns := h.Columns
	if len(columns) == 0 {
		columns = s.PrimaryKey
	}
	if h.Share < 0 || h.Share >= 1_000_000 || len(columns) == 0 || h.From != "" {
		return nil, fmt.Errorf("%w: a share of %v held out by columns %q: want at least 0 and less than 1, by one column or more (the table's primary key, if none are named), or a date column with from", ErrSplit, h.Share, columns)
	}
	for _, c := range columns {
		if _, ok := s.Field(c); !ok {
			return nil, fmt.Errorf("%w: column %q, by which rows are to be held out, does not exist", ErrSplit, c)
		}
	}
	mac := hmac.New(sha256.New, []byte(h.Key))
	var spelt, sum []byte
	return func(r Row) bool {
		mac.Reset()
		spelt = s.appendKey(spelt[:0], columns, r.Cells)
		mac.Write(spelt)
		sum = mac.Sum(sum[:0])
		return binary.LittleEndian.Uint64(sum)%1_000_000 < uint64(h.Share)
	}, nil
}

// Partition divides one table among sites, to try a federation on one machine.
type Partition struct {
	Sites int `json:"sites"`
	// Column keeps rows with equal values together, at sites that are about equally
	// large. Without it each row goes anywhere.
	Column string `json:"column,omitempty"`
	// Alpha, with Column, instead divides the rows of each value by shares that are
	// drawn from a Dirichlet distribution (Hsu et al., 2019): with Column the label,
	// 0.1 leaves a site few of the classes, 100 hardly skews.
	Alpha float64 `json:"alpha,omitempty"`
	Seed  uint64  `json:"seed,omitempty"`
}

// MaxSites is the most sites of a partition.
const MaxSites = 1 << 12

// Assign returns the site of each row, from 0. It keeps a few bytes for each row.
func (p Partition) Assign(s *Schema, rows iter.Seq2[Row, error]) ([]int32, error) {
	if _, ok := s.index[p.Column]; p.Column != "" && !ok {
		return nil, fmt.Errorf("%w: column %q, by which rows are to be divided, does not exist", ErrSplit, p.Column)
	}
	var values []int32 // of each row, numbered as they come
	numbers := make(map[string]int32)
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		value := ""
		if p.Column != "" {
			value = string(s.appendKey(nil, []string{p.Column}, row.Cells))
		}
		n, known := numbers[value]
		if !known {
			n = int32(len(numbers))
			numbers[value] = n
		}
		values = append(values, n)
	}
	return p.AssignValues(values)
}

// AssignValues is Assign over what the rows have in Column, numbered from 0, such as
// their labels.
func (p Partition) AssignValues(values []int32) ([]int32, error) {
	switch {
	case p.Sites < 1 || p.Sites > MaxSites:
		return nil, fmt.Errorf("%w: %d sites, want 1 to %d", ErrSplit, p.Sites, MaxSites)
	case p.Alpha != 0 && (p.Column == "" || !(p.Alpha >= 1e-3 && p.Alpha <= 1e6)):
		return nil, fmt.Errorf("%w: alpha %g: want 0.001 to 1000000, and a column such as the label", ErrSplit, p.Alpha)
	case len(values) == 0 || slices.Min(values) < 0:
		return nil, fmt.Errorf("%w: there are no rows, or some have a value below 0", ErrSplit)
	}
	kinds := int(slices.Max(values)) + 1
	r := repro.NewRandom(p.Seed)
	sites := make([]int32, len(values))
	switch {
	case p.Alpha > 0:
		p.skewed(r, values, kinds, sites)
	case p.Column != "":
		p.together(values, kinds, sites)
	default:
		for i := range sites {
			sites[i] = int32(i % p.Sites)
		}
		repro.Shuffle(r, sites)
	}
	count := make([]int, p.Sites)
	for _, s := range sites {
		count[s]++
	}
	if i := slices.Index(count, 0); i >= 0 {
		return nil, fmt.Errorf("%w: site %d of %d gets no rows of %d; take fewer sites, another seed, or a larger alpha", ErrSplit, i, p.Sites, len(values))
	}
	return sites, nil
}

// together gives each value, the most frequent first, to the site that has the fewest rows.
func (p Partition) together(values []int32, kinds int, sites []int32) {
	count, order := make([]int, kinds), make([]int32, kinds)
	for i := range order {
		order[i] = int32(i)
	}
	for _, v := range values {
		count[v]++
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(count[b], count[a]) })
	load, site := make([]int, p.Sites), make([]int32, kinds)
	for _, v := range order {
		least := slices.Index(load, slices.Min(load))
		site[v] = int32(least)
		load[least] += count[v]
	}
	for i, v := range values {
		sites[i] = site[v]
	}
}

// skewed divides the rows of each value by shares of their own.
func (p Partition) skewed(r *repro.Random, values []int32, kinds int, sites []int32) {
	gamma := distuv.Gamma{Alpha: p.Alpha, Beta: 1, Src: r}
	of := make([][]int, kinds)
	for i, v := range values {
		of[v] = append(of[v], i)
	}
	until := make([]float64, p.Sites) // the sites' shares, added up
	for _, rows := range of {
		var sum float64
		for s := range until {
			sum += gamma.Rand()
			until[s] = sum
		}
		repro.Shuffle(r, rows)
		site := 0
		for k, i := range rows {
			for site < p.Sites-1 && (float64(k)+0.5)/float64(len(rows)) > until[site]/math.Max(sum, math.SmallestNonzeroFloat64) {
				site++
			}
			sites[i] = int32(site)
		}
	}
}
