package auth

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"atoll/internal/core"
)

// maxTracked bounds the callers a Limiter remembers. Beyond it, callers who are
// back at their full burst are dropped, as nothing is lost by that, and then any.
const maxTracked = 50_000

// Rate is a token bucket: PerSecond tokens flow in, at most Burst are kept.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limiter holds each caller to one Rate. It is safe for concurrent use.
type Limiter struct {
	rate   Rate
	policy string // of the RateLimit-Policy header
	name   string
	now    func() time.Time

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// NewLimiter returns a Limiter. Its name appears in the headers. now may be nil.
func NewLimiter(name string, r Rate, now func() time.Time) (*Limiter, error) {
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 0) || r.Burst < 1 {
		return nil, fmt.Errorf("auth: rate limit %q: %g a second, burst %d: want both above zero", name, r.PerSecond, r.Burst)
	}
	if now == nil {
		now = time.Now
	}
	quoted := strconv.Quote(name)
	window := int(math.Ceil(float64(r.Burst) / r.PerSecond))
	return &Limiter{
		rate: r, now: now, name: quoted, buckets: map[string]*rate.Limiter{},
		policy: fmt.Sprintf("%s;q=%d;w=%d", quoted, r.Burst, max(window, 1)),
	}, nil
}

// Allow takes a token of the caller and writes RateLimit and RateLimit-Policy
// headers (draft-ietf-httpapi-ratelimit-headers-10): q is the burst, w the
// seconds in which it flows in, r what is left of it, t the seconds until it is
// whole again. If there is none it adds Retry-After and fails with core.Throttled.
func (l *Limiter) Allow(h http.Header, caller string) error {
	now := l.now()
	bucket := l.bucket(caller, now)
	ok := bucket.AllowN(now, 1)
	left := max(bucket.TokensAt(now), 0)
	h["Ratelimit-Policy"] = []string{l.policy}
	h["Ratelimit"] = []string{l.state(left)}
	if ok {
		return nil
	}
	wait := int(math.Ceil((1 - left) / l.rate.PerSecond))
	h["Retry-After"] = []string{strconv.Itoa(max(wait, 1))}
	return core.Errorf(core.Throttled, "more than %g requests a second", l.rate.PerSecond).WithHint("wait as long as Retry-After says")
}

func (l *Limiter) state(left float64) string {
	var buf [64]byte
	b := append(buf[:0], l.name...)
	b = append(b, ";r="...)
	b = strconv.AppendInt(b, int64(left), 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, int64(math.Ceil((float64(l.rate.Burst)-left)/l.rate.PerSecond)), 10)
	return string(b)
}

func (l *Limiter) bucket(caller string, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[caller]; b != nil {
		return b
	}
	if len(l.buckets) >= maxTracked {
		l.evict(now)
	}
	b := rate.NewLimiter(rate.Limit(l.rate.PerSecond), l.rate.Burst)
	l.buckets[caller] = b
	return b
}

// Tracked returns how many callers are remembered.
func (l *Limiter) Tracked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

// evict makes room: it looks at a few callers in the map's random order, so that
// a flood of new callers costs each of them the same little.
func (l *Limiter) evict(now time.Time) {
	const look = 16
	looked := 0
	var last string
	for caller, b := range l.buckets {
		if last = caller; b.TokensAt(now) >= float64(l.rate.Burst) {
			break
		}
		if looked++; looked == look {
			break
		}
	}
	delete(l.buckets, last)
}
