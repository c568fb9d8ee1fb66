package core

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseMoney(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Money
		out  string
	}{
		{"0", 0, "0.00"}, {"2.5", 2_500_000, "2.50"}, {"2.50", 2_500_000, "2.50"}, {"0.000001", 1, "0.000001"},
		{"0.03", 30_000, "0.03"}, {"1000000000", MaxMoney, "1000000000.00"}, {"007", 7 * Credit, "7.00"},
	} {
		got, err := ParseMoney(c.in)
		if err != nil || got != c.want || got.String() != c.out {
			t.Errorf("%q: %d %q, %v; want %d %q", c.in, got, got, err, c.want, c.out)
		}
	}
	for _, bad := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "NaN", "Inf", "0x10", "1,5", " 1", "1 ", "1.0000001", "1000000000.000001", "99999999999999999999", "١"} {
		if m, err := ParseMoney(bad); err == nil {
			t.Errorf("%q was taken for %s", bad, m)
		}
	}
}

func TestMoneyRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := Money(rapid.Int64Range(-int64(MaxMoney), int64(MaxMoney)).Draw(t, "m"))
		b, err := json.Marshal(m)
		var back Money
		if err != nil || json.Unmarshal(b, &back) != nil || back != m {
			t.Fatalf("%d became %s and %d: %v", m, b, back, err)
		}
		p := rapid.IntRange(0, 1000).Draw(t, "p")
		if m >= 0 {
			if cut := m.PerMille(p); cut < 0 || cut > m || (p == 1000) != (cut == m) && m > 0 {
				t.Fatalf("%d per mille of %d is %d", p, m, cut)
			}
		}
	})
	if _, ok := Add(math.MaxInt64, 1); ok {
		t.Error("an overflow was not seen")
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	d := DigestOf([]byte("x"))
	if back, err := ParseDigest(d.String()); err != nil || back != d {
		t.Errorf("%s became %s: %v", d, back, err)
	}
	s := d.String()
	for _, bad := range []string{"", "sha256:", s[:len(s)-1], s + "0", "SHA256:" + s[7:], "sha256:" + "G" + s[8:], "sha512:" + s[7:], "sha256:" + strings.Repeat("0", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(idEpochMillis + 1000)
	s := NewIDSource(func() time.Time { return now }, func() uint32 { return math.MaxUint32 })
	last := int64(0)
	for i := range 1000 {
		switch i {
		case 300:
			now = now.Add(-time.Hour) // the clock steps back
		case 600:
			now = now.Add(2 * time.Hour)
		case 900:
			s.NotBefore(last + 1<<30)
		}
		id := s.Next()
		if id <= last {
			t.Fatalf("ID %d after %d", id, last)
		}
		last = id
		if back, err := ParseTaskID(TaskID(id).String()); err != nil || int64(back) != id {
			t.Fatalf("%d became %s and %d: %v", id, TaskID(id), back, err)
		}
	}
	for _, bad := range []string{"", "task_", "task_0123456789ab", "task_0123456789abcd", "lease_0123456789abc", "task_ilou456789abc", "task_8000000000000", "task_0123456789ABC"} {
		if id, err := ParseTaskID(bad); err == nil {
			t.Errorf("%q was taken for %d", bad, id)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"a", "paris-1", "0", "a-b-c"} {
		if err := CheckName("node", ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "é", string(make([]byte, 64))} {
		if CheckName("node", bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParseMoney(f *testing.F) {
	f.Add("2.50")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMoney(s)
		if err != nil {
			return
		}
		if back, err := ParseMoney(m.String()); err != nil || back != m || m < 0 || m > MaxMoney {
			t.Fatalf("%q is %d, which reads back as %d: %v", s, m, back, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add("task_0123456789abc")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseTaskID(s); err == nil && (id < 0 || id.String() != s) {
			t.Fatalf("%q is %d, which is written %s", s, id, id)
		}
	})
}
