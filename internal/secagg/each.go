package secagg

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// each does something for 0 to n − 1, on all cores. It returns the error for the least
// number that has one, and begins with no other after it.
func each(n int, do func(i int) error) error {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		mu    sync.Mutex
		first = n // number with an error
		err   error
	)
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				e := do(i)
				if e == nil {
					continue
				}
				next.Store(int64(n)) // all lesser ones have begun
				mu.Lock()
				if i < first {
					first, err = i, e
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return err
}
