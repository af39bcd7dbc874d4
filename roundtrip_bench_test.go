//go:build cgo && linux

package judemap

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/judemap/judemap/internal/floor"
)

// BenchmarkRoundTrip: 64 bytes from one process to another and back, through a segment each way. The payload derives
// from the number of the round; each side writes all of it and checks all of it. With wait=blocking the receiver parks
// until it is woken, with wait=polling it looks in a loop.
//
// by=judemap is between two Go processes; by=C++ is the same with the core's calls, without Go; by=floor carries
// nothing but that a word has changed, through a raw futex or a loop that loads it. bench/iceoryx2 does the same with
// iceoryx2, and `make bench` runs it in turn with these. ns/op is the time of one round trip. An iteration is 20,000 of
// them: with two processes that poll, the start alone can take longer than a benchmark is given.
func BenchmarkRoundTrip(b *testing.B) {
	for _, wait := range []string{"blocking", "polling"} {
		for _, by := range []string{"floor", "C++", "judemap"} {
			b.Run("wait="+wait+"/by="+by, func(b *testing.B) {
				const warmUp, rounds = 1000, 20000
				there, back := named(b, 64), named(b, 64)
				each := make([]int64, warmUp+rounds*b.N)
				other := startRole(b, "pong", there.Name(), back.Name(), wait, by, strconv.Itoa(len(each)))
				ended := make(chan error, 1)
				var over atomic.Bool
				go func() {
					err := other.Wait()
					if err != nil && !over.Load() { // what waits for it may be a loop in C, which nobody can end
						_, _ = Remove(there.Name()), Remove(back.Name())
						panic(fmt.Sprintf("the other process: %v\n%s", err, other.output.String()))
					}
					ended <- err
				}()
				err := roundTrips(there, back, true, wait == "polling", by, each)
				if over.Store(true); err != nil {
					_ = other.Process.Kill()
				}
				if err := errors.Join(err, <-ended); err != nil {
					b.Fatal(err)
				}
				each = each[warmUp:]
				sum := int64(0)
				for _, t := range each {
					sum += t
				}
				b.ReportMetric(float64(sum)/float64(len(each)), "ns/op") // without the warm-up and the start of the process
				reportQuantiles(b, each)
			})
		}
	}
}

func init() {
	// pong BACK WAIT BY ROUNDS is the other end.
	roles["pong"] = func(there *Segment, args []string) error {
		back, err := Open(args[0])
		if err != nil {
			return err
		}
		err = roundTrips(back, there, false, args[1] == "polling", args[2], make([]int64, number(args[3])))
		return errors.Join(err, back.CloseWait()) // or its end would be the death of a writer
	}
}

// roundTrips is one end of len(each) round trips: the first sends, and receives the answer. each gets the nanoseconds of
// each of them.
func roundTrips(out, in *Segment, first, polling bool, by string, each []int64) error {
	trips := floor.WordTrips
	switch by {
	case "judemap":
		return segmentTrips(out, in, first, polling, each)
	case "C++":
		trips = floor.SegmentTrips
	}
	if n := trips(out.Name(), in.Name(), first, polling, each); n != len(each) {
		return fmt.Errorf("%d round trips of %d", n, len(each))
	}
	return nil
}

func segmentTrips(out, in *Segment, first, polling bool, each []int64) error {
	ctx, shape, payload := context.Background(), []int{64}, make([]byte, 64)
	send := func(round int) error {
		for i := range payload {
			payload[i] = byte(round + i)
		}
		return WriteSlice(out, shape, payload)
	}
	next := func(after uint64) (t Tensor, err error) {
		if !polling {
			return in.Next(ctx, after)
		}
		for {
			t, err = in.TryRead()
			if err == nil && t.Version() > after || err != nil && err != ErrEmpty && err != ErrBusy {
				return t, err
			}
		}
	}
	receive := func(round int) error {
		t, err := next(2 * uint64(round))
		if err != nil {
			return err
		}
		data := t.Data()
		for i := range payload {
			if len(data) != len(payload) || data[i] != byte(round+i) {
				return fmt.Errorf("round %d: received %v", round, data)
			}
		}
		if !t.Valid() {
			return fmt.Errorf("round %d: the view of version %d did not last", round, t.Version())
		}
		return nil
	}
	steps := []func(int) error{receive, send}
	if first {
		steps = []func(int) error{send, receive}
	}
	for round := range each {
		start := floor.Clock()
		for _, step := range steps {
			if err := step(round); err != nil {
				return err
			}
		}
		each[round] = floor.Clock() - start
	}
	return nil
}
