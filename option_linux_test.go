//go:build cgo

package judemap

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"
)

// Whatever the poll interval, a parked reader doesn't spin, ends with its context, and, where the interval is short,
// gets the next commit.
func TestPollIntervals(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		for _, test := range []struct {
			interval time.Duration
			short    bool
		}{
			{0, true}, {-1, true}, {math.MinInt64, true}, {1, true},
			{math.MaxInt64, false}, {365 * 24 * time.Hour, false},
		} {
			s := named(t, 64)
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			reader := reopen(t, s, WithReadOnly(), WithPollInterval(test.interval))
			ctx, cancel := context.WithCancel(context.Background())
			var wait sync.WaitGroup
			wait.Go(func() {
				if _, err := reader.Next(ctx, 2); err != context.Canceled {
					t.Errorf("%v: %v, want the context's end", test.interval, err)
				}
			})
			eventually(t, "a parked reader", func() bool { return reader.waiters.parkedReaders() == 1 })
			const idle = 300 * time.Millisecond
			before := cpuTime(t)
			time.Sleep(idle)
			if used := cpuTime(t) - before; used > idle/2 {
				t.Errorf("%v: a parked reader took %v of processor time in %v", test.interval, used, idle)
			}
			cancel()
			within(t, "the context's end", wait.Wait)
			if !test.short {
				continue
			}
			wait.Go(func() {
				if got, err := reader.Next(context.Background(), 2); err != nil || got.Version() != 4 {
					t.Errorf("%v: version %d, %v", test.interval, got.Version(), err)
				}
			})
			eventually(t, "a parked reader", func() bool { return reader.waiters.parkedReaders() == 1 })
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			within(t, "a commit", wait.Wait)
		}
	})
}
