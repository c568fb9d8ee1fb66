package outbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"atoll/internal/core"
)

func open(t testing.TB, path string) *Outbox {
	t.Helper()
	o, err := Open(Config{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The database and the map agree on every history, also across reopening.
func TestOutboxAgreesWithMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, fmt.Sprintf("a b?%d.db", run)) // as awkward as a user's folder
		o, err := Open(Config{Path: path, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { o.Close() }()
		var m Memory
		next := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				var add []Entry
				for range rapid.IntRange(0, 3).Draw(t, "entries") {
					leases := rapid.SliceOfN(rapid.Int64Range(1, 1<<62), 1, 3).Draw(t, "leases")
					e := Entry{ID: next, Body: []byte(rapid.StringN(1, 20, 80).Draw(t, "body"))}
					for _, l := range leases {
						e.Leases = append(e.Leases, core.LeaseID(l))
					}
					add, next = append(add, e), next+1
				}
				forget := rapid.SliceOfN(rapid.Int64Range(1, next), 0, 3).Draw(t, "forget")
				if a, b := o.Put(add, forget), m.Put(add, forget); a != nil || b != nil {
					t.Fatal(a, b)
				}
			},
			"repeat": func(t *rapid.T) {
				all, _ := m.All()
				if len(all) == 0 {
					t.Skip("empty")
				}
				again := []Entry{{ID: next, Leases: []core.LeaseID{1}, Body: []byte("x")}, all[0]}
				if a, b := o.Put(again, nil), m.Put(again, nil); a == nil || b == nil {
					t.Fatal("an ID was used twice")
				}
			},
			"reopen": func(t *rapid.T) {
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
				if o, err = Open(Config{Path: path, NoSync: true}); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				got, err := o.All()
				want, _ := m.All()
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("got %v, %v; want %v", got, err, want)
				}
			},
		})
	})
}

func TestOneAgentPerDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path)
	if second, err := Open(Config{Path: path, NoSync: true}); err == nil {
		second.Close()
		t.Fatal("two agents share an outbox")
	} else if !strings.Contains(err.Error(), "locked") {
		t.Errorf("the error does not say why: %v", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"))
	defer o.Close()
	for _, packed := range [][]byte{nil, {1, 2, 3}, make([]byte, 8), {255, 0, 0, 0, 0, 0, 0, 1}} {
		if _, err := o.db.Exec(`INSERT OR REPLACE INTO report VALUES (1, ?, x'7b7d')`, append([]byte{}, packed...)); err != nil {
			t.Fatal(err)
		}
		if _, err := o.All(); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v: %v", packed, err)
		}
	}
	if err := o.Put([]Entry{{ID: 2, Leases: []core.LeaseID{1}, Body: []byte("{}")}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Put([]Entry{{ID: 3, Leases: []core.LeaseID{1}, Body: []byte("{}")}, {ID: 2, Leases: []core.LeaseID{1}}}, []int64{2}); err == nil {
		t.Error("an ID was used twice")
	}
	var n int
	if err := o.db.QueryRow(`SELECT count(*) FROM report WHERE id IN (2, 3)`).Scan(&n); err != nil || n != 1 {
		t.Errorf("half a batch was kept: %d rows, %v", n, err)
	}
}

// BenchmarkPut is one durable write of reports of 64 leases each, as a node does
// it some hundred times a second; ns/lease is what it costs one lease.
func BenchmarkPut(b *testing.B) {
	for _, leases := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("leases=%d", leases), func(b *testing.B) {
			o, err := Open(Config{Path: filepath.Join(b.TempDir(), "outbox.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer o.Close()
			e := Entry{Leases: make([]core.LeaseID, leases), Body: make([]byte, 700*leases)}
			for i := range e.Leases {
				e.Leases[i] = core.LeaseID(i + 1)
			}
			var forget []int64
			for b.Loop() {
				e.ID++
				if err := o.Put([]Entry{e}, forget); err != nil {
					b.Fatal(err)
				}
				forget = append(forget[:0], e.ID)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*leases), "ns/lease")
		})
	}
}
