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

// BenchmarkRoundTrip: a tensor goes from one process to another, and another one comes back, through a segment each way.
// All bytes are the low byte of the trip's number; each side fills a tensor, and sums the one that it gets. With
// wait=blocking the receiver parks until it is woken, with wait=polling it looks in a loop.
//
// by=judemap is between two Go processes; by=C++ is the same with the core's calls, without Go; by=floor carries
// nothing but that a word has changed, through a raw futex or a loop that loads it. by=socket and by=pipe are those of
// peers_bench_test.go. bench/iceoryx2 and bench/peers.py do the same, and `make bench` runs them in turn with these.
// ns/op is the time of one round trip. An iteration is many of them: with two processes that poll, the start alone can
// take longer than a benchmark is given.
func BenchmarkRoundTrip(b *testing.B) {
	for _, wait := range []string{"blocking", "polling"} {
		for _, size := range peerSizes {
			for _, by := range []string{"floor", "C++", "judemap"} {
				if size > 64 && (by == "floor" || wait == "polling") {
					continue // which say nothing about sizes
				}
				b.Run(fmt.Sprintf("size=%d/wait=%s/by=%s", size, wait, by), func(b *testing.B) {
					there, back := named(b, size), named(b, size)
					each := make([]int64, warmUpTrips(size)+trips(size)*b.N)
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
					reportTrips(b, each[warmUpTrips(size):])
				})
			}
			for _, by := range []string{"socket", "pipe"} {
				if wait == "blocking" {
					b.Run(fmt.Sprintf("size=%d/wait=%s/by=%s", size, wait, by), func(b *testing.B) { byteTrips(b, by, size) })
				}
			}
		}
	}
}

// peerSizes are the payloads that peers are measured with: the least that is of interest, a 224x224 RGB float32 picture,
// and one that the caches of a core don't hold.
var peerSizes = []int{64, 602112, 8 << 20}

// trips is how many round trips of a size an iteration has: some 100 ms of them.
func trips(size int) int       { return max(min(1<<30/size, 20000), 100) }
func warmUpTrips(size int) int { return trips(size) / 20 }

// reportTrips reports what trips took, in nanoseconds.
func reportTrips(b *testing.B, each []int64) {
	sum := int64(0)
	for _, t := range each {
		sum += t
	}
	b.ReportMetric(float64(sum)/float64(len(each)), "ns/op") // without the warm-up and the start of the process
	reportQuantiles(b, each)
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
	n := 0
	switch by {
	case "judemap":
		return segmentTrips(out, in, first, polling, each)
	case "C++":
		n = floor.SegmentTrips(out.Name(), in.Name(), out.ByteCapacity(), first, polling, each)
	case "floor":
		n = floor.WordTrips(out.Name(), in.Name(), first, polling, each)
	}
	if n != len(each) {
		return fmt.Errorf("%d round trips of %d", n, len(each))
	}
	return nil
}

func segmentTrips(out, in *Segment, first, polling bool, each []int64) error {
	ctx, shape := context.Background(), []int{out.ByteCapacity()}
	send := func(round int) error { return out.Fill(shape, Uint8, float64(uint8(round))) }
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
		if data := t.Data(); len(data) != shape[0] || !isAll(data, byte(round)) || !t.Valid() {
			return fmt.Errorf("round %d: version %d, of %d bytes, is not what was sent", round, t.Version(), len(data))
		}
		return nil
	}
	return takeTurns(first, each, send, receive)
}

// takeTurns is one end of round trips: the first sends, and receives the answer. each gets the nanoseconds of each.
func takeTurns(first bool, each []int64, send, receive func(round int) error) error {
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

// isAll says whether all bytes are that one, by their sum. There are a multiple of eight.
func isAll(data []byte, value byte) bool {
	return floor.Sum(data) == uint64(value)*0x0101010101010101*uint64(len(data)/8)
}
