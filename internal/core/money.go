package core

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Money is an amount of micro-credits: 1 credit = 1,000,000. It is an integer
// everywhere, in memory, in SQL and in what is signed; its text form is a
// decimal number of credits with at most six decimals ("2.50"), never a float.
type Money int64

// Credit is one credit.
const Credit Money = 1_000_000

// MaxMoney bounds every single amount, so that sums of many thousands of
// amounts cannot overflow an int64.
const MaxMoney Money = 1_000_000_000 * Credit

// moneyText has room for the text form of any int64.
const moneyText = len("-9223372036854.775808")

// ParseMoney reads a non-negative decimal such as "2.50". Signs, exponents,
// NaN, more than six decimals and amounts over MaxMoney are refused.
func ParseMoney(s string) (Money, error) {
	whole, frac, dotted := strings.Cut(s, ".")
	if whole == "" || (dotted && frac == "") || len(frac) > 6 || !digits(whole) || !digits(frac) {
		return 0, fmt.Errorf("amount %.40q: want a decimal number of credits such as 2.50, with at most six decimals", s)
	}
	w, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || w > int64(MaxMoney/Credit) {
		return 0, fmt.Errorf("amount %.40q: over the limit of %s credits", s, MaxMoney)
	}
	f, _ := strconv.ParseInt((frac + "000000")[:6], 10, 64)
	m := Money(w)*Credit + Money(f)
	if m > MaxMoney {
		return 0, fmt.Errorf("amount %.40q: over the limit of %s credits", s, MaxMoney)
	}
	return m, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// String returns the decimal form with at least two decimals.
func (m Money) String() string {
	var b [moneyText]byte
	text, _ := m.AppendText(b[:0]) // never fails
	return string(text)
}

// AppendText implements encoding.TextAppender.
func (m Money) AppendText(b []byte) ([]byte, error) {
	u := uint64(m)
	if m < 0 {
		b, u = append(b, '-'), -u
	}
	b = append(strconv.AppendUint(b, u/uint64(Credit), 10), '.')
	frac := u % uint64(Credit)
	unit := uint64(Credit) / 10
	for n := 0; n < 2 || frac > 0; n++ {
		b = append(b, '0'+byte(frac/unit))
		frac, unit = frac%unit, unit/10
	}
	return b, nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Money) MarshalText() ([]byte, error) { return m.AppendText(make([]byte, 0, moneyText)) }

// UnmarshalText implements encoding.TextUnmarshaler. Unlike ParseMoney it takes
// negative amounts, which the issuer's balance is; what must not be negative is
// for its own validation to say.
func (m *Money) UnmarshalText(b []byte) error {
	text, negative := strings.CutPrefix(string(b), "-")
	v, err := ParseMoney(text)
	if err != nil {
		return err
	}
	if *m = v; negative {
		*m = -v
	}
	return nil
}

// Add returns a+b and false if the sum leaves the int64 range.
func Add(a, b Money) (Money, bool) {
	s := a + b
	return s, (s > a) == (b > 0)
}

// PerMille returns m·p/1000 rounded down, without overflow, for m ≥ 0 and
// 0 ≤ p ≤ 1000.
func (m Money) PerMille(p int) Money {
	hi, lo := bits.Mul64(uint64(m), uint64(p))
	q, _ := bits.Div64(hi, lo, 1000)
	if q > math.MaxInt64 {
		return math.MaxInt64
	}
	return Money(q)
}
