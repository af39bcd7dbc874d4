//go:build cgo && linux

package judemap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/judemap/judemap/internal/floor"
)

// BenchmarkManySegments: another process commits 4,000 times a second to the segments in turn, and this one has a
// goroutine for each, in Next. Reported are the time from the commit to the view, and the processor time that this
// process takes for a frame: neither should depend on how many segments the frames are spread over.
func BenchmarkManySegments(b *testing.B) {
	const rate = 4000
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("segments=%d/by=judemap", n), func(b *testing.B) {
			segments, names := make([]*Segment, n), make([]string, n)
			for i := range segments {
				segments[i] = named(b, 64)
				names[i] = segments[i].Name()
			}
			other := startRole(b, "commit", append([]string{names[0], strconv.Itoa(rate)}, names[1:]...)...)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for _, s := range segments {
				if _, err := s.Next(ctx, 0); err != nil { // the other process is there
					b.Fatal(err)
				}
			}
			duration, before := seconds(b), cpuTime(b)
			ages := make([][]int64, n)
			var readers sync.WaitGroup
			for i, s := range segments {
				ages[i] = make([]int64, 0, 2*rate*b.N/n)
				readers.Go(func() {
					var err error
					if ages[i], err = clockAges(ctx, s, ages[i]); err != context.Canceled {
						b.Error(err)
					}
				})
			}
			time.Sleep(duration)
			cancel()
			readers.Wait()
			cpu := cpuTime(b) - before
			other.kill(b)
			var all []int64
			for _, ages := range ages {
				all = append(all, ages...)
			}
			reportQuantiles(b, all)
			b.ReportMetric(float64(cpu)/float64(len(all)), "cpu-ns/frame")
			b.ReportMetric(float64(len(all))/duration.Seconds(), "frames/s")
		})
	}
}

// clockAges appends the age of every commit of commitClock when its view is there, in nanoseconds, until ctx ends.
func clockAges(ctx context.Context, s *Segment, ages []int64) ([]int64, error) {
	for after := s.Version() &^ 1; ; {
		t, err := s.Next(ctx, after)
		if err != nil {
			return ages, err
		}
		now := floor.Clock()
		at, valid, err := clockOf(&t)
		if err != nil {
			return ages, err
		}
		if valid {
			ages = append(ages, now-at)
		}
		after = t.Version()
	}
}

// BenchmarkTicker: how late a ticker of 1 ms is in a process with one processor (GOMAXPROCS=1): by=floor in one that
// does nothing else, by=judemap in one that has a reader parked in Next, whose segment another process commits to 100
// times a second. A reader that kept the processor while it waits would hold up the ticker.
func BenchmarkTicker(b *testing.B) {
	for _, by := range []string{"floor", "judemap"} {
		b.Run("by="+by, func(b *testing.B) {
			s := named(b, 64)
			cmd := roleCommand("ticker", s.Name(), seconds(b).String(), by)
			cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
			child := start(b, cmd)
			ended := make(chan error, 1)
			go func() { ended <- child.Wait() }()
			var err error
			stop := func() bool {
				select {
				case err = <-ended:
					return true
				default:
					return false
				}
			}
			if err := pace(100, stop, func(int) error { return commitClock(s) }); err != nil {
				b.Fatal(err)
			}
			var p99, latest float64
			if _, scan := fmt.Sscan(child.output.String(), &p99, &latest); err != nil || scan != nil {
				b.Fatalf("%v\n%s", errors.Join(err, scan), child.output.String())
			}
			b.ReportMetric(p99, "p99-ns")
			b.ReportMetric(latest, "max-ns")
		})
	}
}

func init() {
	// commit RATE NAME... commits the clock to its segments in turn, until killed.
	roles["commit"] = func(s *Segment, args []string) error {
		segments := []*Segment{s}
		for _, name := range args[1:] {
			s, err := Open(name)
			if err != nil {
				return err
			}
			segments = append(segments, s)
		}
		return pace(number(args[0]), never, func(i int) error { return commitClock(segments[i%len(segments)]) })
	}
	// ticker DURATION BY prints how late the ticks were, in nanoseconds: the 99th of a hundred, and the latest.
	roles["ticker"] = func(s *Segment, args []string) error {
		duration, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		failed := make(chan error, 1)
		if args[1] == "judemap" {
			go func() {
				_, err := clockAges(ctx, s, nil)
				failed <- err
			}()
		}
		late := lateness(time.Millisecond, duration)
		select {
		case err := <-failed:
			return err
		default:
		}
		fmt.Println(quantile(late, 0.99), quantile(late, 1))
		return nil
	}
}

// lateness runs a ticker, and returns by how many nanoseconds each tick came after the first one that was due since the
// tick before, sorted.
func lateness(period, duration time.Duration) []int64 {
	late := make([]int64, 0, duration/period)
	start := time.Now()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for due := period; due < duration; {
		<-ticker.C
		now := time.Since(start)
		late = append(late, int64(now-due))
		due = now.Truncate(period) + period
	}
	slices.Sort(late)
	return late
}
